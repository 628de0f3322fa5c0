/* The closed-form fit of one weighted operation: a ridge regression from its inputs to wanted outputs,
 * accumulated over calibration samples on all ranks. A depthwise operation is a fit of its own for each
 * channel.
 *
 *   (G + penalty·I) [W; b] = H + penalty·[W0; 0],   G = Σ [u;1][u;1]ᵀ,  H = Σ [u;1] yᵀ,
 *
 * so that W0, the migrated weights, are kept where the samples say nothing (He et al. 2017 without the
 * penalty). Where a ReLU follows, only what survives it matters: y is kept where 0 < y < maximum, elsewhere
 * it is replaced by the prediction clipped to the dead side, and the system is solved again with the same
 * factor. */
#ifndef GODWIT_WORKER_FIT_H
#define GODWIT_WORKER_FIT_H

#include "worker/machine.h"
#include "worker/patches.h"

struct fit_data {
    int64_t n;      /* samples of this rank */
    int64_t block;  /* samples of a block: sums run over whole blocks */
    const float *x; /* (n, in): inputs of the operation */
    const float *y; /* (n, rows, width): wanted outputs before activation */
    int64_t width;
    const int64_t *column; /* [outputs] which columns of y; NULL: all */
};

struct fit_options {
    double ridge;        /* penalty relative to the mean diagonal of G */
    int64_t relu_rounds; /* 0: plain least squares */
    bool relu;           /* a ReLU follows */
    float maximum;       /* of that ReLU; INFINITY if none */
};

struct fit_result {
    double before, after; /* squared error relative to the outputs' squares, after the ReLU if there is one */
};

/* Replaces kernel and bias (NULL: no bias), whose values on entry are the start. `graph` and `op` are the
 * target's. Collective; every rank ends with the same bytes. */
status fit_operation(const struct machine *machine, const struct opgraph *graph, const struct op *op,
                     const struct fit_data *data, const struct fit_options *options, float *kernel,
                     float *bias, struct fit_result *result) STATUS_MUST_USE;

#endif

/* The closed-form fit of one weighted operation: a ridge regression from its inputs to wanted outputs,
 * accumulated over calibration samples on all ranks. The groups of a convolution, and the channels of a
 * depthwise one, are fits of their own. A layer that is called several times is one fit of all its calls.
 *
 *   (G + penalty·I) [W; b] = H + penalty·[W0; 0],   G = Σ [u;1][u;1]ᵀ,  H = Σ [u;1] yᵀ,
 *
 * so that W0, the migrated weights, are kept where the samples say nothing (He et al. 2017 without the
 * penalty). What follows the operation is minded by solving again with the same factor, each time for the
 * change that worker/outcome.h asks for: so with a ReLU only what survives it matters, and with a softmax the
 * divergence of the probabilities is lowered. */
#ifndef GODWIT_WORKER_FIT_H
#define GODWIT_WORKER_FIT_H

#include "worker/machine.h"
#include "worker/outcome.h"
#include "worker/patches.h"

/* One call of the layer. */
struct fit_call {
    const struct op *op; /* of the target */
    const float *x;      /* (n, in): inputs of the operation */
    const float *y;      /* (n, rows, width): wanted outputs before activation */
    const float *counts; /* (n, rows): rows where it is zero do not count; NULL: all do */
    int64_t width;
    struct outcome outcome;
};

struct fit_data {
    int ncalls;
    const struct fit_call *call; /* [ncalls] */
    const int64_t *column;       /* [outputs] which columns of y; NULL: all */
    int64_t n, total;            /* samples of this rank, of all ranks */
    int64_t block;               /* samples of a block: sums run over whole blocks */
    int64_t first;               /* number of this rank's first block among those of all ranks */
    int64_t held;                /* every held-th block is not fitted to, but measured; 0: none */
};

struct fit_options {
    double ridge;   /* penalty relative to the mean diagonal of G; 0: of a few the best on the held-out blocks
                       (without these, a middle one) */
    int64_t rounds; /* that mind what follows; 0: plain least squares */
    int64_t rows;   /* about as many rows are enough; 0: all positions of all samples are used */
};

struct fit_result {
    double before, after; /* error relative to the size of what is wanted, see worker/outcome.h */
    double ridge;         /* used */
    int64_t dropped;      /* directions of the inputs that depend on the others; of all groups */
    bool kept;            /* the start was better on the held-out blocks, and stays */
};

/* Is the block, counted among those of all ranks, held out? */
static inline bool block_held(int64_t block, int64_t held) {
    return held && block % held == held - 1;
}

/* Replaces kernel and bias (NULL: no bias), whose values on entry are the start. Collective; every rank ends
 * with the same bytes, whatever the number of ranks. DATA error if the activations are not finite. */
status fit_operation(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                     const struct fit_options *options, float *kernel, float *bias,
                     struct fit_result *result) STATUS_MUST_USE;

#endif

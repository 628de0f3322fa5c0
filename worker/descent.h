/* Coordinate descent over the layers: one operation is fitted again so that the outputs of the *next*
 * weighted operations come right, with all that the target's other weights do to them.
 *
 * Each step asks what change of the operation's outputs takes away the next outputs' error: the adjoint of
 * what lies between (the next kernels transposed, the ReLU's mask) applied to it, as in Landweber's
 * iteration. A ridge regression of that change on the operation's inputs, with the Gram matrix of the fit, is
 * the direction; directions are conjugate (Polak, Ribiere 1969), and their length is that of the least error
 * on the line. So it is the least-squares fit of two operations in a row by preconditioned conjugate
 * gradients. Steps end where the held-out blocks no longer gain. */
#ifndef GODWIT_WORKER_DESCENT_H
#define GODWIT_WORKER_DESCENT_H

#include "worker/activations.h"
#include "worker/outcome.h"

/* A value that is to come right. */
struct descent_output {
    int value;      /* of the target's graph */
    const float *y; /* (n, rows, width) wanted */
    int64_t width;
    const int64_t *column; /* [outputs] which columns of y; NULL: all */
    struct outcome outcome;
};

struct descent {
    const struct opgraph *graph; /* the target's */
    struct params *params;
    int op;                           /* the operation that is fitted */
    const struct activations *inputs; /* of the target, at a frontier before the operation */
    int noutputs;
    const struct descent_output *output;  /* [noutputs] */
    int64_t n, total, block, first, held; /* samples, as in worker/fit.h */
    int64_t rows;                         /* about as many are enough for the Gram matrix */
    int64_t steps;
};

struct descent_result {
    double before, after; /* error of all outputs, relative to their size; see worker/outcome.h */
    bool possible;        /* false: the engine has no adjoint of what lies between; nothing is changed */
};

/* Changes the operation's parameters. Collective; every rank ends with the same bytes, whatever the number of
 * ranks. */
status descent_run(const struct machine *machine, const struct descent *descent,
                   struct descent_result *result) STATUS_MUST_USE;

#endif

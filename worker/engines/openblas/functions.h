/* Activation functions on arrays, on the calling thread. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_FUNCTIONS_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_FUNCTIONS_H

#include "shared/op.h"

/* y[i] = f(x[i]); y may be x. */
void function_values(const struct activation_function *f, const float *x, int64_t n, float *y);
/* dx[i] = dy[i] * f'(x[i]); dx may be x or dy. */
void function_slopes(const struct activation_function *f, const float *x, const float *dy, int64_t n,
                     float *dx);

#endif

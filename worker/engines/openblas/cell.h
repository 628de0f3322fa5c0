/* What a recurrent cell does besides its matrix products, for one sample and one step.
 *
 * `z` (gates*u) are the sums before the activations, in Keras's order: LSTM i, f, c, o; GRU z, r, h. A GRU
 * with reset_after has the inputs' part of its candidate in z, the recurrent part in `inner` (u). `values`
 * (gates*u) is scratch. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_CELL_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_CELL_H

#include "shared/op.h"

/* Columns of the kernel by the units: 1, 4 or 3. */
int cell_gates(enum cell cell);

/* GRU without reset_after: the state that the candidate sees. */
void cell_reset(const struct recurrent *r, int64_t u, const float *z, const float *h, float *reset);

/* The next states, in place; c of LSTM only. */
void cell_forward(const struct recurrent *r, int64_t u, const float *z, const float *inner, float *values,
                  float *h, float *c);

/* The states before the step, and c after it. */
struct cell_states {
    const float *h, *c, *c_after;
};

/* From the gradient of the states after the step to that of the sums (dz, and dinner), and, in place, to what
 * reaches the states before it without a product. For a GRU without reset_after all but dz of r, for which
 * `reset` gets the state that the candidate saw; then cell_backward_reset() does that with the gradient of
 * `reset`, which it adds to dh. */
void cell_backward(const struct recurrent *r, int64_t u, const float *z, const float *inner,
                   const struct cell_states *before, float *values, float *dh, float *dc, float *dz,
                   float *dinner, float *reset);
void cell_backward_reset(const struct recurrent *r, int64_t u, const float *z, const float *h,
                         const float *dreset, float *values, float *dh, float *dz);

#endif

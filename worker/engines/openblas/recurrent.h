/* Recurrent layers: what forward and backward share. The samples of a batch are divided among slots, each of
 * which goes through the time steps with its own. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_RECURRENT_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_RECURRENT_H

#include "worker/engines/openblas/kernel.h"

/* Sizes of memory and places in it are in floats. */
struct recurrent_plan {
    int64_t steps, channels, units;
    int64_t gates; /* columns of the kernel */
    int64_t first,
        second;    /* columns of the recurrent product: at once, and after the first (GRU: candidate) */
    int64_t width; /* of the output */
    int hidden, carry, mask; /* inputs; -1 if absent */
    int slots;
    int64_t rows; /* samples of the largest slot */
    int64_t span; /* time steps at a time: forward in inference; backward */
    int64_t span_backward;

    /* Forward's scratch: packed weights, then each slot's. */
    int64_t packed_kernel, packed_first, packed_second, slot0, slot;
    int64_t h, c, values, inner, sums; /* in a slot */

    /* Kept from forward to backward: sums of all gates (N,T,gates), then (N,T,u) each. */
    int64_t kept_c, kept_inner;

    /* Backward's scratch: transposed recurrent weights, then each slot's: double sums of the bias first. */
    int64_t turned_first, turned_second, back_slot0, back_slot;
    int64_t dkernel, drecurrent, dh, dc, back_values, zeros, dreset; /* in a slot */
    int64_t dsums, before, seen, dinner, reset;                      /* of a span: (rows, span, ...) */
};

status recurrent_backward(struct task *task);

static inline const struct recurrent *recurrent_of(const struct task *task) {
    return &task->op->u.recurrent;
}

/* Is the step at time t masked for a sample? */
static inline bool recurrent_masked(const struct task *task, int64_t sample, int64_t t) {
    const struct recurrent_plan *p = task->plan;
    return p->mask >= 0 && task->x[p->mask][sample * p->steps + t] == 0;
}

/* Time of a step of computation. */
static inline int64_t recurrent_time(const struct task *task, int64_t step) {
    const struct recurrent_plan *p = task->plan;
    return recurrent_of(task)->backwards ? p->steps - 1 - step : step;
}

#endif

/* Cycles of epochs: in each the learning rate goes through its schedule once, so that weights settle at its
 * end (SGDR, Loshchilov and Hutter 2017). Where the number of epochs is automatic each is twice as long as
 * the one before, until one no longer gains. Nothing here is collective. */
#ifndef GODWIT_WORKER_CYCLE_H
#define GODWIT_WORKER_CYCLE_H

#include "io/config.h"

struct cycle {
    int64_t begin, length; /* epochs */
    int64_t pivot;         /* epoch in which it was shortened; `begin`: it was not */
    double from;           /* part of the schedule that was over then */
};

/* The first cycle's epochs, where their number is automatic: 4, and of small sets so many that there are 400
 * steps. */
int64_t cycle_first_length(int64_t steps_per_epoch);

/* The cycle after this one, `length` epochs long. */
struct cycle cycle_next(const struct cycle *cycle, int64_t length);

/* Only `left` > 0 epochs are left in `epoch`: the rest of the schedule is gone through faster, without a
 * leap, and to its end. */
void cycle_shorten(struct cycle *cycle, int64_t epoch, int64_t left);

static inline int64_t cycle_end(const struct cycle *cycle) {
    return cycle->begin + cycle->length;
}

/* Learning rate of a step of an epoch of the cycle. */
double cycle_rate(const struct cycle *cycle, const struct schedule_config *schedule, int64_t epoch,
                  int64_t step, int64_t steps_per_epoch);

/* Did the hold-out part's loss fall by enough for another cycle, from `before` to `after`? */
bool cycle_gained(double before, double after);

#endif

#include "worker/cycle.h"
#include "worker/learning_rate.h"

#include <math.h>

#define FIRST_EPOCHS 4
#define FIRST_STEPS 400
#define FIRST_EPOCHS_MAX 200
#define GAIN 0.015 /* least part of the loss that a cycle must take away for another one */
#define FINE_STEPS 1000000

int64_t cycle_first_length(int64_t steps_per_epoch) {
    int64_t epochs = (FIRST_STEPS + steps_per_epoch - 1) / steps_per_epoch;
    if (epochs < FIRST_EPOCHS) epochs = FIRST_EPOCHS;
    return epochs < FIRST_EPOCHS_MAX ? epochs : FIRST_EPOCHS_MAX;
}

struct cycle cycle_next(const struct cycle *cycle, int64_t length) {
    int64_t begin = cycle_end(cycle);
    return (struct cycle){.begin = begin, .length = length, .pivot = begin};
}

static double progress(const struct cycle *c, int64_t epoch, int64_t step, int64_t steps_per_epoch) {
    double steps = (double)((cycle_end(c) - c->pivot) * steps_per_epoch - 1);
    double done = (double)((epoch - c->pivot) * steps_per_epoch + step);
    return c->from + (1 - c->from) * (steps > 0 ? done / steps : 1);
}

void cycle_shorten(struct cycle *c, int64_t epoch, int64_t left) {
    c->from =
        fmin(1, c->from + (1 - c->from) * (double)(epoch - c->pivot) / (double)(cycle_end(c) - c->pivot));
    c->pivot = epoch;
    c->length = epoch + left - c->begin;
}

double cycle_rate(const struct cycle *c, const struct schedule_config *schedule, int64_t epoch, int64_t step,
                  int64_t steps_per_epoch) {
    if (c->pivot == c->begin)
        return learning_rate_at(schedule, (epoch - c->begin) * steps_per_epoch + step,
                                c->length * steps_per_epoch);
    double at = progress(c, epoch, step, steps_per_epoch);
    return learning_rate_at(schedule, (int64_t)llround(at * (FINE_STEPS - 1)), FINE_STEPS);
}

bool cycle_gained(double before, double after) {
    return after < (1 - GAIN) * before;
}

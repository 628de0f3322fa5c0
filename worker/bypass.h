/* Which parts of a model can be bypassed at the least cost: measured by the error of its outputs on
 * calibration samples. */
#ifndef GODWIT_WORKER_BYPASS_H
#define GODWIT_WORKER_BYPASS_H

#include "worker/calibration.h"

/* What reads `value` reads `by`, of the same shape and computed before it, instead. */
struct bypass {
    int value, by;
};

struct bypass_task {
    const struct opgraph *graph; /* one input */
    struct params *params;
    const struct calibration *calibration;
    int ncandidates;
    const struct bypass *candidate; /* [ncandidates] */
    int count;                      /* how many are wanted */
};

/* The operations with all candidates bypassed that are marked; values and parameters keep their numbers, but
 * the outputs may be others. Owned by the caller. Not collective. */
status bypass_graph(const struct bypass_task *task, const bool *bypassed,
                    struct opgraph **graph) STATUS_MUST_USE;

/* Chooses `count` candidates one after another, each time the one with which, after those before it, the
 * error of the outputs is least (worker/outcome.h): chosen[count], and that error in cost[count]. `single`
 * [ncandidates]: the error of each alone. Some hundred samples are looked at. USAGE error if fewer can be
 * bypassed, as others are within them. Collective; the same on any number of ranks. */
status bypass_choose(const struct machine *machine, const struct bypass_task *task, int *chosen, double *cost,
                     double *single) STATUS_MUST_USE;

#endif

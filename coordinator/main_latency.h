/* Widths within a limit of measured latency. Used by main_channels.c. */
#ifndef GODWIT_COORDINATOR_MAIN_LATENCY_H
#define GODWIT_COORDINATOR_MAIN_LATENCY_H

#include "coordinator/compile.h"
#include "io/model.h"
#include "worker/machine.h"

struct latency_task {
    const struct machine *machine;
    const struct target_config *config;
    const struct compiled *compiled;
    const struct model *source; /* what "latency_ratio" is a fraction of */
    const double *const
        *error; /* of narrowing each group, see coordinator/budget.h; NULL: nothing is known */
};

/* Allots kept[groups] so that the target's latency stays within the configuration's limit: rank 0 measures
 * the parts of the target at several widths, allots by a model of these, measures the target that comes out,
 * corrects the model, and does so again a few times. The widest of those within the limit is taken. *limit_s:
 * the limit in seconds. If none is within, the fastest is taken and a warning says so; USAGE error if even
 * one channel of each group is too slow. Collective. */
status latency_allot(const struct latency_task *task, int *kept, double *limit_s) STATUS_MUST_USE;

#endif

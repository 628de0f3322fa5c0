/* The last transforms of a program: what quantize and cast make of the tensors that fitting and training
 * made. */
#ifndef GODWIT_WORKER_FINISH_H
#define GODWIT_WORKER_FINISH_H

#include "shared/op.h"
#include "shared/plan.h"
#include "worker/calibration.h"

struct finish {
    const struct plan *plan;
    const struct opgraph *target; /* of plan->target */
    struct params *params;        /* all of the target's, as graph_lower() numbers them */
    const struct calibration *calibration;
};

/* Has the program statements whose outermost transforms are done last? */
bool plan_finishes(const struct plan *plan);

/* Does them. First those that need no samples; then, layer after layer, those that round by gptq, each on the
 * inputs that the finished layers before it give on the calibration samples. Where there are no samples, or a
 * kernel weighs its inputs in no way that is known (worker/patches.h) or too many of them, rounding is to the
 * nearest, and the log says so. Collective; every rank ends with the same bytes, whatever the number of
 * ranks. */
status finish(const struct machine *machine, const struct finish *finish) STATUS_MUST_USE;

#endif

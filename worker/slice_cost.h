/* What slices take in training, measured on the machine at hand, to share them out by. */
#ifndef GODWIT_WORKER_SLICE_COST_H
#define GODWIT_WORKER_SLICE_COST_H

#include "shared/stages.h"
#include "worker/machine.h"
#include "worker/slice_task.h"

struct slice_cost {
    struct stages_cost cost; /* its arrays are those below */
    double *compute, *transfer, *sum, *bytes;
};

/* A slice is measured by one rank, each rank measures some, all at the same time, with random numbers for
 * parameters and inputs. `cached`: the source's activations are kept, it does not run. `flushed` as in struct
 * stages_cost. Collective. After an error slice_cost_free must still be called. */
status slice_cost_measure(const struct machine *machine, const struct slice_task *task, bool cached,
                          bool flushed, struct slice_cost *cost) STATUS_MUST_USE;
void slice_cost_free(struct slice_cost *cost);

#endif

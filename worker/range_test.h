/* Learning-rate range test (Smith 2015): the rate grows from step to step until training diverges. */
#ifndef GODWIT_WORKER_RANGE_TEST_H
#define GODWIT_WORKER_RANGE_TEST_H

#include "worker/train.h"

struct range_test {
    int64_t steps;
    double rate;     /* to begin with: half of that at which the loss was least */
    double least_at; /* rate at which the smoothed loss was least, against the loss without training */
    double fall;     /* by how much it was less there */
    double above;    /* rate from which the loss was above that without training; infinite: none was */
};

/* From task->params, which stay. Each step's loss is compared with what the start weights give for the same
 * samples, since steps differ in their samples by more than by what they learn. The rate is 0 if no rate
 * lowered the loss. Collective over machine->world. Errors: as trial_run() (worker/trial.h). */
status range_test(const struct machine *machine, const struct train_task *task,
                  struct range_test *result) STATUS_MUST_USE;

#endif

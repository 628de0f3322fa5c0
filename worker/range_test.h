/* Learning-rate range test (Smith 2015): the rate grows from step to step until training diverges. */
#ifndef GODWIT_WORKER_RANGE_TEST_H
#define GODWIT_WORKER_RANGE_TEST_H

#include "worker/train.h"

struct range_test {
    int64_t steps;
    double rate;       /* to begin with */
    double start;      /* mean loss without training */
    double least_at;   /* rate at which the smoothed loss was least, against that without training */
    double fall;       /* by how much it was less there */
    double doubled_at; /* rate from which it was twice that without training; infinite: it never was */
};

/* From task->params, which stay. Each step's loss is compared with what the start weights give for the same
 * samples, since steps differ in their samples by more than by what they learn.
 *
 * Weights far from an optimum show the right rate by how fast their loss falls: rate is half of that at which
 * it was least. Refitted weights are near one, where every rate that gets them further in the end raises the
 * loss at first: rate is that at which it was doubled. Collective over machine->world. Errors: as trial_run()
 * (worker/trial.h). */
status range_test(const struct machine *machine, const struct train_task *task,
                  struct range_test *result) STATUS_MUST_USE;

#endif

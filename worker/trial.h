/* A trial: a short training that tells settings apart. */
#ifndef GODWIT_WORKER_TRIAL_H
#define GODWIT_WORKER_TRIAL_H

#include "worker/train.h"

struct trial_result {
    double
        score; /* calibrated loss on the hold-out part (worker/evaluate.h); infinite if training diverged */
    double accuracy;
};

/* Trains a copy of task->params for `steps` steps, in which the learning rate goes once through its schedule,
 * and evaluates it on the hold-out part. No checkpoint and no averaging, whatever the task says; the teacher
 * is asked as in the first epochs. `trained`, unless NULL, receives the weights. Collective over
 * machine->world. Errors: as train(); CHECKPOINTED if SIGTERM arrived. */
status trial_run(const struct machine *machine, const struct train_task *task, int64_t steps,
                 struct trial_result *result, struct params *trained) STATUS_MUST_USE;

/* The learning rates of `steps` steps, from the first to the last by equal factors, and the losses there. */
struct sweep {
    int64_t steps;
    double first, last; /* both 0: nothing is learnt */
    double *loss;       /* [steps] mean of the step's samples before its update; NAN from divergence on */
};

/* Trains a copy of task->params so. Collective; errors as trial_run(). */
status trial_sweep(const struct machine *machine, const struct train_task *task,
                   const struct sweep *sweep) STATUS_MUST_USE;

/* Least seconds that a step takes, the slowest rank's, of `steps` after a few to warm up; the teacher is left
 * out. Collective; errors as trial_run(). */
status trial_step_time(const struct machine *machine, const struct train_task *task, int64_t steps,
                       double *seconds) STATUS_MUST_USE;

#endif

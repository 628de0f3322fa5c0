#include "worker/trial.h"
#include "worker/cycle.h"
#include "worker/evaluate.h"
#include "worker/trainer.h"

#include "shared/interrupt.h"

#include <math.h>
#include <string.h>

/* A trainer on a copy of the task's weights. */
struct trial {
    struct training_config config;
    struct train_task task;
    struct trainer trainer;
    struct params *params;
    int64_t step; /* next to do */
    struct loss_result loss;
};

static status open_trial(struct trial *t, const struct machine *machine, const struct train_task *task) {
    *t = (struct trial){.config = *task->config, .task = *task};
    t->config.average = 0;
    t->task.config = &t->config;
    status error = params_clone(task->params, &t->params);
    t->task.params = t->params;
    t->trainer = (struct trainer){.machine = machine, .task = &t->task};
    if (!error) error = trainer_open(&t->trainer);
    return comm_agree(machine->world, error);
}

static void close_trial(struct trial *t) {
    trainer_close(&t->trainer);
    params_destroy(&t->params);
}

/* One step; *loss: mean of its samples. */
static status step(struct trial *t, double rate, double *loss) {
    struct trainer *trainer = &t->trainer;
    int64_t epoch = t->step / trainer->steps_per_epoch, in_epoch = t->step % trainer->steps_per_epoch;
    bool stop = false;
    struct loss_result sum = {0};
    if (in_epoch == 0) STATUS_TRY(comm_agree(trainer->machine->world, trainer_begin_epoch(trainer, epoch)));
    STATUS_TRY(trainer_step(trainer, epoch, in_epoch, rate, &sum, &stop));
    if (stop)
        return status_fail(STATUS_CHECKPOINTED,
                           "stopped by SIGTERM while settings were tried; run the same command again");
    t->step++;
    *loss = sum.loss / (double)t->config.batch;
    return SUCCESS;
}

static status run(struct trial *t, int64_t steps, struct trial_result *result) {
    struct cycle whole = {.length = 1};
    *result = (struct trial_result){.score = INFINITY};
    for (int64_t i = 0; i < steps; i++) {
        double loss;
        STATUS_TRY(step(t, cycle_rate(&whole, &t->config.schedule, 0, i, steps), &loss));
        if (!isfinite(loss)) return SUCCESS;
    }
    struct evaluation e;
    STATUS_TRY(evaluate_against(t->trainer.machine, t->task.graph, t->params, t->task.data, DATASET_HOLDOUT,
                                t->task.holdout_class, &e));
    if (isfinite(e.calibrated_loss))
        *result = (struct trial_result){.score = e.calibrated_loss, .accuracy = e.accuracy};
    return SUCCESS;
}

status trial_run(const struct machine *machine, const struct train_task *task, int64_t steps,
                 struct trial_result *result, struct params *trained) {
    struct trial t;
    status error = open_trial(&t, machine, task);
    interrupt_catch();
    if (!error) error = run(&t, steps, result);
    interrupt_release();
    if (!error && trained) memcpy(trained->data, t.params->data, (size_t)trained->total * sizeof(float));
    close_trial(&t);
    return error;
}

static status run_sweep(struct trial *t, const struct sweep *s) {
    double growth = s->first > 0 && s->steps > 1 ? log(s->last / s->first) / (double)(s->steps - 1) : 0;
    for (int64_t i = 0; i < s->steps; i++) s->loss[i] = NAN;
    for (int64_t i = 0; i < s->steps; i++) {
        STATUS_TRY(step(t, s->first * exp(growth * (double)i), &s->loss[i]));
        if (!isfinite(s->loss[i])) break;
    }
    return SUCCESS;
}

status trial_sweep(const struct machine *machine, const struct train_task *task, const struct sweep *sweep) {
    struct trial t;
    status error = open_trial(&t, machine, task);
    interrupt_catch();
    if (!error) error = run_sweep(&t, sweep);
    interrupt_release();
    close_trial(&t);
    return error;
}

static status run_timed(struct trial *t, int64_t steps, double *seconds) {
    enum { WARM_UP = 2 };
    double least = INFINITY, loss;
    for (int64_t i = 0; i < WARM_UP + steps; i++) {
        double start = comm_time();
        STATUS_TRY(step(t, 0, &loss));
        if (i >= WARM_UP) least = fmin(least, comm_time() - start);
    }
    *seconds = least;
    return comm_max_f64(t->trainer.machine->world, seconds, 1);
}

status trial_step_time(const struct machine *machine, const struct train_task *task, int64_t steps,
                       double *seconds) {
    struct trial t;
    struct train_task alone = *task;
    if (dataset_classes(task->data)) alone.teacher = NULL;
    status error = open_trial(&t, machine, &alone);
    interrupt_catch();
    if (!error) error = run_timed(&t, steps, seconds);
    interrupt_release();
    close_trial(&t);
    return error;
}

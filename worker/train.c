#include "worker/train.h"
#include "worker/evaluate.h"
#include "worker/trainer.h"

#include "io/digest.h"
#include "shared/interrupt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a run stands: what a checkpoint holds besides the trainer's own state. */
struct run {
    struct trainer trainer;
    struct train_result *result;
    char *key;                /* of the checkpoint: the task's and the digest of the weights at the start */
    int64_t epoch, step;      /* next to do */
    struct loss_result loss;  /* of the present epoch's steps so far */
    struct params *candidate; /* weights to evaluate */
    struct params *best;      /* weights to return */
    double *rate;             /* [epochs] samples a second, for the median */
};

/* ---- checkpoints ---- */

static void describe(struct run *r, struct checkpoint *c) {
    const struct train_task *task = r->trainer.task;
    *c = (struct checkpoint){.key = r->key};
    checkpoint_add_integer(c, "epoch", &r->epoch);
    checkpoint_add_integer(c, "step", &r->step);
    checkpoint_add_real(c, "loss", &r->loss.loss);
    checkpoint_add_integer(c, "correct", &r->loss.correct);
    checkpoint_add_integer(c, "steps", &r->result->steps);
    checkpoint_add_integer(c, "best_epoch", &r->result->best_epoch);
    checkpoint_add_real(c, "train_loss", &r->result->train_loss);
    checkpoint_add_real(c, "holdout_accuracy", &r->result->holdout_accuracy);
    checkpoint_add_array(c, "weights", task->params->data, (size_t)task->params->total);
    checkpoint_add_array(c, "best_weights", r->best->data, (size_t)r->best->total);
    optimizer_checkpoint(r->trainer.optimizer, c);
    if (r->trainer.average) weight_average_checkpoint(r->trainer.average, c);
}

static status make_key(struct run *r) {
    const struct train_task *task = r->trainer.task;
    char *start = NULL;
    if (!task->checkpoint) return SUCCESS;
    STATUS_TRY(bytes_digest(task->params->data, (size_t)task->params->total * sizeof(float), &start));
    int made = asprintf(&r->key, "%s %s", task->checkpoint_key, start);
    free(start);
    return made < 0 ? status_no_memory("a checkpoint", 0) : SUCCESS;
}

/* Rank 0 writes; collective. */
static status save(struct run *r) {
    const struct comm *world = r->trainer.machine->world;
    struct checkpoint c;
    if (!r->trainer.task->checkpoint) return SUCCESS;
    describe(r, &c);
    return comm_agree(world,
                      comm_is_root(world) ? checkpoint_write(r->trainer.task->checkpoint, &c) : SUCCESS);
}

/* Rank 0 reads, everybody gets what it found; collective. */
static status resume(struct run *r, bool *found) {
    const struct comm *world = r->trainer.machine->world;
    struct checkpoint c;
    *found = false;
    if (!r->trainer.task->checkpoint) return SUCCESS;
    describe(r, &c);
    STATUS_TRY(comm_agree(world, comm_is_root(world) ? checkpoint_read(r->trainer.task->checkpoint, &c, found)
                                                     : SUCCESS));
    STATUS_TRY(comm_any(world, *found, found));
    for (int i = 0; i < c.nnumbers && *found; i++)
        STATUS_TRY(comm_bcast(
            world, 0, c.number[i].integer ? (void *)c.number[i].integer : (void *)c.number[i].real, 8));
    for (int i = 0; i < c.narrays && *found; i++)
        STATUS_TRY(comm_bcast(world, 0, c.array[i].data, c.array[i].n * sizeof(float)));
    if (*found)
        log_line(r->trainer.machine->log, LOG_INFO, "resumed from %s at epoch %lld, step %lld",
                 r->trainer.task->checkpoint, (long long)r->epoch + 1, (long long)r->step + 1);
    return SUCCESS;
}

static status stop_here(struct run *r) {
    STATUS_TRY(save(r));
    if (!r->trainer.task->checkpoint)
        return status_fail(STATUS_CHECKPOINTED, "stopped by SIGTERM; there is no checkpoint");
    return status_fail(STATUS_CHECKPOINTED,
                       "stopped by SIGTERM in epoch %lld; run the same command again to continue from %s",
                       (long long)r->epoch + 1, r->trainer.task->checkpoint);
}

/* ---- epochs ---- */

static status run_steps(struct run *r) {
    struct trainer *t = &r->trainer;
    const struct train_task *task = t->task;
    struct log *log = t->machine->log;
    char what[64], note[64];
    status error = dataset_order(task->data, DATASET_TRAIN, (uint64_t)r->epoch, t->order);
    if (!error) error = trainer_begin_epoch(t, r->epoch);
    error = comm_agree(t->machine->world, error);
    snprintf(what, sizeof what, "epoch %lld/%lld", (long long)r->epoch + 1, (long long)task->config->epochs);
    log_progress_begin(log, what, "samples", (double)(t->steps_per_epoch * task->config->batch));
    while (r->step < t->steps_per_epoch && !error) {
        bool stop = false;
        error = trainer_step(t, r->epoch, r->step, &r->loss, &stop);
        if (error) break;
        r->step++;
        if (stop) error = stop_here(r);
        double done = (double)(r->step * task->config->batch);
        snprintf(note, sizeof note, "loss %.4f accuracy %.4f", r->loss.loss / done,
                 (double)r->loss.correct / done);
        log_progress(log, done, note);
    }
    log_progress_end(log);
    return comm_agree(t->machine->world, error);
}

/* Samples that say which weights are the best: they need labels. */
static bool has_holdout(const struct dataset *data) {
    return dataset_size(data, DATASET_HOLDOUT) > 0 && dataset_classes(data) > 0;
}

static void report_epoch(const struct run *r, const struct evaluation *holdout, double accuracy,
                         double seconds) {
    struct log *log = r->trainer.machine->log;
    double rate = r->rate[r->epoch];
    char heldout[48] = "";
    if (holdout->samples) snprintf(heldout, sizeof heldout, ", hold-out %.2f %%", 100 * holdout->accuracy);
    log_line(log, LOG_INFO, "epoch %lld: loss %.4f, accuracy %.2f %%%s, %.0f samples/s",
             (long long)r->epoch + 1, r->result->train_loss, 100 * accuracy, heldout, rate);
    LOG_EVENT(log, "epoch", {"epoch", (double)r->epoch + 1, NULL}, {"loss", r->result->train_loss, NULL},
              {"accuracy", accuracy, NULL}, {"holdout_loss", holdout->loss, NULL},
              {"holdout_accuracy", holdout->accuracy, NULL}, {"samples_per_s", rate, NULL},
              {"seconds", seconds, NULL});
}

static status run_epoch(struct run *r) {
    struct trainer *t = &r->trainer;
    const struct train_task *task = t->task;
    int64_t first = r->step;
    double start = comm_time();
    STATUS_TRY(run_steps(r));
    double n = (double)(t->steps_per_epoch * task->config->batch), seconds = comm_time() - start;
    r->rate[r->epoch] = (double)((t->steps_per_epoch - first) * task->config->batch) / seconds;
    r->result->train_loss = r->loss.loss / n;
    r->result->steps += t->steps_per_epoch;

    struct evaluation e = {0};
    bool holdout = has_holdout(task->data);
    const struct params *now = t->average ? weight_average_params(t->average) : task->params;
    size_t nbytes = (size_t)now->total * sizeof(float);
    memcpy(r->candidate->data, now->data, nbytes);
    if (holdout) STATUS_TRY(evaluate(t->machine, task->graph, r->candidate, task->data, DATASET_HOLDOUT, &e));
    if (!holdout || e.accuracy > r->result->holdout_accuracy) {
        memcpy(r->best->data, now->data, nbytes);
        r->result->holdout_accuracy = e.accuracy;
        r->result->best_epoch = r->epoch + 1;
    }
    report_epoch(r, &e, (double)r->loss.correct / n, seconds);
    r->epoch++;
    r->step = 0;
    r->loss = (struct loss_result){0};
    return save(r);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status run_epochs(struct run *r) {
    const struct train_task *task = r->trainer.task;
    bool found;
    STATUS_TRY(resume(r, &found));
    int64_t begin = r->epoch;
    if (!found && has_holdout(task->data)) {
        struct evaluation e;
        STATUS_TRY(evaluate(r->trainer.machine, task->graph, r->best, task->data, DATASET_HOLDOUT, &e));
        r->result->holdout_accuracy = e.accuracy;
    }
    while (r->epoch < task->config->epochs) STATUS_TRY(run_epoch(r));
    memcpy(task->params->data, r->best->data, (size_t)r->best->total * sizeof(float));
    int64_t n = r->epoch - begin; /* epochs of this process */
    if (n > 0) {
        qsort(r->rate + begin, (size_t)n, sizeof *r->rate, compare);
        r->result->samples_per_s = r->rate[begin + n / 2];
    }
    return SUCCESS;
}

status train(const struct machine *machine, const struct train_task *task, struct train_result *result) {
    *result = (struct train_result){0};
    if (task->config->epochs == 0) return SUCCESS;
    struct run r = {.trainer = {.machine = machine, .task = task}, .result = result};
    status error = trainer_open(&r.trainer);
    if (!error) error = params_clone(task->params, &r.candidate);
    if (!error) error = params_clone(task->params, &r.best);
    if (!error)
        error = memory_alloc("epoch rates", (size_t)task->config->epochs, sizeof *r.rate, (void **)&r.rate);
    if (!error) error = make_key(&r);
    error = comm_agree(machine->world, error);
    interrupt_catch();
    if (!error) error = run_epochs(&r);
    interrupt_release();
    params_destroy(&r.candidate);
    params_destroy(&r.best);
    free(r.rate);
    free(r.key);
    trainer_close(&r.trainer);
    return error;
}

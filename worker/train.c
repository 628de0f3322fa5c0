#include "worker/train.h"
#include "worker/cycle.h"
#include "worker/evaluate.h"
#include "worker/trainer.h"

#include "io/digest.h"
#include "shared/interrupt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCHS_MAX 100000
#define EPOCHS_UNJUDGED 10 /* without a hold-out part */

/* Where a run stands: what a checkpoint holds besides the trainer's own state. */
struct run {
    struct trainer trainer;
    struct train_result *result;
    char *key;           /* of the checkpoint: the task's and the digest of the weights at the start */
    int64_t epoch, step; /* next to do */
    struct cycle cycle;  /* the present one */
    double score;        /* of the best weights: less is better */
    double score_before; /* when the present cycle began */
    double seconds;      /* of the processes before this one */
    double start;        /* of this process, and the epoch that it began with */
    int64_t start_epoch;
    struct loss_result loss;  /* of the present epoch's steps so far */
    struct params *candidate; /* weights to evaluate */
    struct params *best;      /* weights to return */
    double *rate;             /* [epochs] samples a second, for the median */
};

static bool is_automatic(const struct run *r) {
    return r->trainer.task->config->epochs < 0;
}

/* Samples that say which weights are the best: they need labels. */
static bool has_holdout(const struct train_task *task) {
    return dataset_size(task->data, DATASET_HOLDOUT) > 0 &&
           (task->holdout_class || dataset_classes(task->data) > 0);
}

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
    checkpoint_add_integer(c, "cycle_begin", &r->cycle.begin);
    checkpoint_add_integer(c, "cycle_length", &r->cycle.length);
    checkpoint_add_integer(c, "cycle_pivot", &r->cycle.pivot);
    checkpoint_add_real(c, "cycle_from", &r->cycle.from);
    checkpoint_add_real(c, "score", &r->score);
    checkpoint_add_real(c, "score_before", &r->score_before);
    checkpoint_add_real(c, "seconds", &r->seconds);
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
    double before = r->seconds;
    r->seconds += comm_time() - r->start;
    status error = comm_is_root(world) ? checkpoint_write(r->trainer.task->checkpoint, &c) : SUCCESS;
    r->seconds = before;
    return comm_agree(world, error);
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

/* ---- cycles ---- */

/* Epochs for which there is time; collective, since clocks differ. */
static status epochs_left(const struct run *r, int64_t *left) {
    const struct train_task *task = r->trainer.task;
    double now = comm_time(), used = task->spent_s + r->seconds + now - r->start;
    int64_t done = r->epoch - r->start_epoch;
    double epoch_s =
               done ? (now - r->start) / (double)done : task->step_s * (double)r->trainer.steps_per_epoch,
           n = EPOCHS_MAX;
    if (task->config->budget_s > 0)
        n = epoch_s > 0 ? floor((task->config->budget_s - used) / epoch_s) : EPOCHS_MAX;
    n = fmax(0, fmin(n, EPOCHS_MAX));
    STATUS_TRY(comm_bcast(r->trainer.machine->world, 0, &n, sizeof n));
    *left = (int64_t)n;
    return SUCCESS;
}

/* The first cycle: all of the epochs where their number is given. */
static void first_cycle(struct run *r) {
    const struct train_task *task = r->trainer.task;
    int64_t length = task->config->epochs;
    if (is_automatic(r))
        length = has_holdout(task) ? cycle_first_length(r->trainer.steps_per_epoch) : EPOCHS_UNJUDGED;
    r->cycle = (struct cycle){.length = length};
    r->score_before = r->score;
}

/* Time may be short for what is left of the cycle. */
static status keep_to_budget(struct run *r) {
    int64_t left;
    STATUS_TRY(epochs_left(r, &left));
    if (r->epoch == 0 && left == 0) left = 1;
    if (r->epoch + left >= cycle_end(&r->cycle)) return SUCCESS;
    log_line(r->trainer.machine->log, LOG_INFO,
             "training.budget_s leaves time for %lld of the %lld epochs that were planned", (long long)left,
             (long long)(cycle_end(&r->cycle) - r->epoch));
    if (left) cycle_shorten(&r->cycle, r->epoch, left);
    else r->cycle.length = r->epoch - r->cycle.begin;
    return SUCCESS;
}

/* At a cycle's end: is there another one? */
static status next_cycle(struct run *r, bool *goes_on) {
    struct log *log = r->trainer.machine->log;
    int64_t left;
    *goes_on = false;
    if (!is_automatic(r) || !has_holdout(r->trainer.task)) return SUCCESS;
    STATUS_TRY(epochs_left(r, &left));
    bool gained = cycle_gained(r->score_before, r->score), fits = left > 0;
    int64_t length = 2 * r->cycle.length, most = EPOCHS_MAX - r->epoch;
    if (length > most) length = most;
    *goes_on = gained && fits && length > 0;
    log_line(log, LOG_INFO, "%lld epochs, until epoch %lld: hold-out loss %.4f after %.4f at best; %s",
             (long long)r->cycle.length, (long long)r->epoch, r->score, r->score_before,
             *goes_on ? "a longer cycle follows"
             : gained ? "training.budget_s leaves no time for more"
                      : "no gain worth another cycle");
    LOG_EVENT(log, "cycle", {"epochs", (double)r->cycle.length, NULL},
              {"holdout_loss_before", r->score_before, NULL}, {"holdout_loss", r->score, NULL},
              {"goes_on", *goes_on, NULL});
    if (!*goes_on) return SUCCESS;
    r->cycle = cycle_next(&r->cycle, length);
    r->score_before = r->score;
    return SUCCESS;
}

/* ---- epochs ---- */

static status begin_epoch(struct run *r) {
    struct trainer *t = &r->trainer;
    status error = comm_agree(t->machine->world, trainer_begin_epoch(t, r->epoch));
    if (!error && t->task->teacher) error = teacher_begin_epoch(t->task->teacher, t->machine, r->epoch);
    return error;
}

static status run_steps(struct run *r) {
    struct trainer *t = &r->trainer;
    const struct train_task *task = t->task;
    struct log *log = t->machine->log;
    char what[64], note[64];
    status error = begin_epoch(r);
    if (is_automatic(r)) snprintf(what, sizeof what, "epoch %lld", (long long)r->epoch + 1);
    else
        snprintf(what, sizeof what, "epoch %lld/%lld", (long long)r->epoch + 1,
                 (long long)cycle_end(&r->cycle));
    log_progress_begin(log, what, "samples", (double)(t->steps_per_epoch * task->config->batch));
    while (r->step < t->steps_per_epoch && !error) {
        bool stop = false;
        double rate = cycle_rate(&r->cycle, &task->config->schedule, r->epoch, r->step, t->steps_per_epoch);
        error = trainer_step(t, r->epoch, r->step, rate, &r->loss, &stop);
        if (!error && !isfinite(r->loss.loss))
            error = status_fail(STATUS_DATA,
                                "the loss is not finite in epoch %lld, step %lld; lower "
                                "training.schedule.rate or set training.optimizer.clip",
                                (long long)r->epoch + 1, (long long)r->step + 1);
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
              {"holdout_accuracy", holdout->accuracy, NULL},
              {"holdout_calibrated_loss", holdout->calibrated_loss, NULL}, {"samples_per_s", rate, NULL},
              {"seconds", seconds, NULL});
}

static double score_of(const struct run *r, const struct evaluation *e) {
    return is_automatic(r) ? e->calibrated_loss : -e->accuracy;
}

/* Evaluates weights and keeps them if they are the best; *shown: of those of the epoch that are best. */
static status judge(struct run *r, const struct params *weights, struct evaluation *shown) {
    const struct train_task *task = r->trainer.task;
    struct evaluation e = {0};
    bool holdout = has_holdout(task);
    memcpy(r->candidate->data, weights->data, (size_t)weights->total * sizeof(float));
    if (holdout)
        STATUS_TRY(evaluate_against(r->trainer.machine, task->graph, r->candidate, task->data,
                                    DATASET_HOLDOUT, task->holdout_class, &e));
    if (!shown->samples || score_of(r, &e) < score_of(r, shown)) *shown = e;
    if (holdout && !(score_of(r, &e) < r->score)) return SUCCESS;
    memcpy(r->best->data, weights->data, (size_t)weights->total * sizeof(float));
    r->score = holdout ? score_of(r, &e) : 0;
    r->result->holdout_accuracy = e.accuracy;
    r->result->best_epoch = r->epoch + 1;
    return SUCCESS;
}

static status judge_epoch(struct run *r, struct evaluation *shown) {
    const struct trainer *t = &r->trainer;
    bool both = t->task->config->average < 0;
    if (!t->average || both) STATUS_TRY(judge(r, t->task->params, shown));
    return t->average ? judge(r, weight_average_params(t->average), shown) : SUCCESS;
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
    STATUS_TRY(judge_epoch(r, &e));
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

/* What there is at the start, in a run that does not go on from a checkpoint. */
static status begin(struct run *r) {
    const struct train_task *task = r->trainer.task;
    if (has_holdout(task)) {
        struct evaluation e;
        STATUS_TRY(evaluate_against(r->trainer.machine, task->graph, r->best, task->data, DATASET_HOLDOUT,
                                    task->holdout_class, &e));
        r->result->holdout_accuracy = e.accuracy;
        r->score = score_of(r, &e);
    }
    first_cycle(r);
    return SUCCESS;
}

static status run_epochs(struct run *r) {
    const struct train_task *task = r->trainer.task;
    bool found, goes_on = true;
    r->start = comm_time();
    STATUS_TRY(resume(r, &found));
    if (!found) STATUS_TRY(begin(r));
    r->start_epoch = r->epoch;
    while (goes_on) {
        if (r->epoch < cycle_end(&r->cycle) && r->step == 0) STATUS_TRY(keep_to_budget(r));
        if (r->epoch < cycle_end(&r->cycle)) STATUS_TRY(run_epoch(r));
        else STATUS_TRY(next_cycle(r, &goes_on));
    }
    memcpy(task->params->data, r->best->data, (size_t)r->best->total * sizeof(float));
    r->result->epochs = r->epoch;
    int64_t n = r->epoch - r->start_epoch; /* epochs of this process */
    if (n > 0) {
        qsort(r->rate + r->start_epoch, (size_t)n, sizeof *r->rate, compare);
        r->result->samples_per_s = r->rate[r->start_epoch + n / 2];
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
        error = memory_alloc("epoch rates",
                             (size_t)(task->config->epochs < 0 ? EPOCHS_MAX : task->config->epochs),
                             sizeof *r.rate, (void **)&r.rate);
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

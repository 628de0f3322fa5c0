#include "worker/slice_run.h"
#include "worker/slice_state.h"
#include "worker/sweep.h"

#include "shared/interrupt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAIN 1.1      /* of joint training over data-parallel, for which it is chosen */
#define SYNC_STEPS 32 /* after so many steps ranks hear of each other's errors */

/* ---- steps ---- */

static status stop_here(struct slice_run *r) {
    STATUS_TRY(slice_checkpoint_save(r));
    if (!r->task->checkpoint)
        return status_fail(STATUS_CHECKPOINTED, "stopped by SIGTERM; there is no checkpoint");
    return status_fail(STATUS_CHECKPOINTED,
                       "stopped by SIGTERM in epoch %lld; run the same command again to continue from %s",
                       (long long)r->epoch + 1, r->task->checkpoint);
}

/* Some steps, and what came of them on all ranks. */
static status run_some(struct slice_run *r, int64_t end, bool *stop) {
    const struct comm *world = r->machine->world;
    struct slice_progress mine = {0};
    status error = r->way->run(r->self, r->step, end, &mine);
    STATUS_TRY(comm_agree(world, error));
    double sum[] = {mine.loss.loss, (double)mine.loss.correct, mine.boundary_error, (double)mine.boundaries,
                    interrupt_requested() ? 1 : 0};
    STATUS_TRY(comm_sum_f64(world, sum, sizeof sum / sizeof *sum));
    if (!isfinite(sum[0]) || !isfinite(sum[2]))
        return status_fail(STATUS_DATA,
                           "the loss is not finite in epoch %lld, before step %lld; lower "
                           "training.schedule.rate or set training.optimizer.clip",
                           (long long)r->epoch + 1, (long long)end + 1);
    r->progress.loss.loss += sum[0];
    r->progress.loss.correct += (int64_t)sum[1];
    r->progress.boundary_error += sum[2];
    r->progress.boundaries += (int64_t)sum[3];
    *stop = sum[4] > 0;
    r->step = end;
    return SUCCESS;
}

static void describe_progress(const struct slice_run *r, double done, char *note, size_t room) {
    const struct slice_progress *p = &r->progress;
    int n =
        snprintf(note, room, "loss %.4f accuracy %.4f", p->loss.loss / done, (double)p->loss.correct / done);
    if (p->boundaries)
        snprintf(note + n, room - (size_t)n, " boundaries %.4f", p->boundary_error / (double)p->boundaries);
}

static status run_steps(struct slice_run *r) {
    const struct slice_task *task = r->task;
    struct stage *s = &r->stage;
    struct log *log = r->machine->log;
    char what[64], note[96];
    STATUS_TRY(comm_agree(r->machine->world,
                          dataset_order(task->data, DATASET_TRAIN, (uint64_t)r->epoch, r->order)));
    stage_begin_epoch(s, r->epoch, r->order);
    snprintf(what, sizeof what, "%s epoch %lld/%lld", r->way->name, (long long)r->epoch + 1,
             (long long)task->epochs);
    log_progress_begin(log, what, "samples", (double)(s->steps_per_epoch * task->config->batch));
    status error = SUCCESS;
    while (r->step < s->steps_per_epoch && !error) {
        bool stop = false;
        int64_t end = r->step + SYNC_STEPS;
        error = run_some(r, end < s->steps_per_epoch ? end : s->steps_per_epoch, &stop);
        if (error) break;
        double done = (double)(r->step * task->config->batch);
        describe_progress(r, done, note, sizeof note);
        log_progress(log, done, note);
        if (stop) error = stop_here(r);
    }
    log_progress_end(log);
    return error;
}

/* ---- epochs ---- */

static bool has_holdout(const struct dataset *data) {
    return dataset_size(data, DATASET_HOLDOUT) > 0 && dataset_classes(data) > 0;
}

static struct params *params_now(const struct slice_run *r) {
    return r->stage.average ? weight_average_params(r->stage.average) : r->stage.params;
}

static status choose_best(struct slice_run *r, struct evaluation *e) {
    const struct params *now = params_now(r);
    bool holdout = has_holdout(r->task->data);
    if (holdout) STATUS_TRY(sweep_evaluate(&r->stage, params_now(r), DATASET_HOLDOUT, e));
    if (holdout && !(e->accuracy > r->result->holdout_accuracy)) return SUCCESS;
    memcpy(r->best->data, now->data, (size_t)now->total * sizeof(float));
    r->result->holdout_accuracy = e->accuracy;
    r->result->best_epoch = r->epoch + 1;
    return SUCCESS;
}

static void report_epoch(const struct slice_run *r, const struct evaluation *e, double seconds) {
    const struct slice_train_result *result = r->result;
    struct log *log = r->machine->log;
    char heldout[48] = "", boundaries[48] = "";
    double n = (double)(r->stage.steps_per_epoch * r->task->config->batch),
           accuracy = (double)r->progress.loss.correct / n;
    if (e->samples) snprintf(heldout, sizeof heldout, ", hold-out %.2f %%", 100 * e->accuracy);
    if (r->progress.boundaries)
        snprintf(boundaries, sizeof boundaries, ", boundaries %.4f", result->boundary_error);
    log_line(
        log, LOG_INFO,
        "%s epoch %lld: loss %.4f, accuracy %.2f %%%s%s, %.0f samples/s, ranks busy %.0f %%, balance %.0f %%",
        r->way->name, (long long)r->epoch + 1, result->train_loss, 100 * accuracy, boundaries, heldout,
        result->samples_per_s, 100 * result->measured, 100 * result->balance);
    LOG_EVENT(log, "epoch", {"epoch", (double)r->epoch + 1, NULL}, {"way", 0, r->way->name},
              {"loss", result->train_loss, NULL}, {"accuracy", accuracy, NULL},
              {"boundary_error", result->boundary_error, NULL}, {"holdout_loss", e->loss, NULL},
              {"holdout_accuracy", e->accuracy, NULL}, {"samples_per_s", result->samples_per_s, NULL},
              {"busy", result->measured, NULL}, {"balance", result->balance, NULL},
              {"seconds", seconds, NULL});
}

static status run_epoch(struct slice_run *r) {
    struct slice_train_result *result = r->result;
    struct stage *s = &r->stage;
    int64_t first = r->step, batch = r->task->config->batch;
    double begin = comm_time(), computed = s->computed, worked = s->worked;
    STATUS_TRY(run_steps(r));
    double seconds = comm_time() - begin, mine = s->computed - computed, all = mine,
           work = s->worked - worked, most = work;
    int ranks = comm_size(r->machine->world);
    STATUS_TRY(comm_sum_f64(r->machine->world, &all, 1));
    STATUS_TRY(comm_max_f64(r->machine->world, &most, 1));
    result->measured = all / (seconds * ranks);
    STATUS_TRY(comm_sum_f64(r->machine->world, &work, 1));
    result->balance = most > 0 ? work / (most * ranks) : 1;
    result->samples_per_s = (double)((s->steps_per_epoch - first) * batch) / seconds;
    result->train_loss = r->progress.loss.loss / (double)(s->steps_per_epoch * batch);
    result->boundary_error =
        r->progress.boundaries ? r->progress.boundary_error / (double)r->progress.boundaries : 0;
    struct evaluation e = {0};
    STATUS_TRY(choose_best(r, &e));
    report_epoch(r, &e, seconds);
    r->epoch++;
    r->step = 0;
    r->progress = (struct slice_progress){0};
    STATUS_TRY(slice_checkpoint_save(r));
    if (first > 0 || r->fixed || r->epoch >= r->task->epochs) return SUCCESS;
    return slice_run_rebalance(r, mine);
}

/* How source and target do on the test part; NAN where that cannot be told. */
static status test_before(struct slice_run *r) {
    struct slice_train_result *result = r->result;
    struct evaluation e = {0};
    result->source_accuracy = result->start_accuracy = result->accuracy = NAN;
    if (!dataset_size(r->task->data, DATASET_TEST) || !dataset_classes(r->task->data)) return SUCCESS;
    STATUS_TRY(sweep_evaluate_source(&r->stage, DATASET_TEST, &e));
    if (e.samples) result->source_accuracy = e.accuracy;
    STATUS_TRY(sweep_evaluate(&r->stage, r->best, DATASET_TEST, &e));
    result->start_accuracy = e.accuracy;
    return SUCCESS;
}

static status test_after(struct slice_run *r) {
    struct evaluation e = {0};
    if (!r->task->test || isnan(r->result->start_accuracy)) return SUCCESS;
    STATUS_TRY(sweep_evaluate(&r->stage, r->best, DATASET_TEST, &e));
    r->result->accuracy = e.accuracy;
    return SUCCESS;
}

static status run_epochs(struct slice_run *r) {
    bool found;
    STATUS_TRY(slice_checkpoint_resume(r, &found));
    if (!found && has_holdout(r->task->data)) {
        struct evaluation e;
        STATUS_TRY(sweep_evaluate(&r->stage, r->best, DATASET_HOLDOUT, &e));
        r->result->holdout_accuracy = e.accuracy;
    }
    while (r->epoch < r->task->epochs) STATUS_TRY(run_epoch(r));
    STATUS_TRY(test_after(r));
    return slice_state_move(r->machine->world, r->task->slicing, false, r->stages, r->best, r->task->params);
}

/* ---- before and after ---- */

static bool cache_asked(const struct training_config *c) {
    return strcmp(c->slices.cache, "auto") != 0 && strcmp(c->slices.cache, "off") != 0;
}

static status check(struct slice_run *r) {
    const struct training_config *c = r->task->config;
    int64_t n = dataset_size(r->task->data, DATASET_TRAIN);
    if (c->batch % c->slices.micro_batches)
        return status_fail(STATUS_USAGE,
                           "training.batch is %lld, no multiple of its %lld micro-batches "
                           "(training.slices.micro_batches)",
                           (long long)c->batch, (long long)c->slices.micro_batches);
    if (n < c->batch)
        return status_fail(STATUS_USAGE,
                           "training.batch is %lld, but there are only %lld training samples; lower it",
                           (long long)c->batch, (long long)n);
    if (cache_asked(c) && r->task->augment)
        return status_fail(STATUS_USAGE,
                           "training.slices.cache is %s, but samples are augmented, so that the "
                           "source gives something else each time; turn one of them off",
                           c->slices.cache);
    if (!strcmp(c->slices.cache, "scratch") && !*c->slices.scratch)
        return status_fail(STATUS_USAGE,
                           "training.slices.cache is scratch, but training.slices.scratch names "
                           "no folder");
    return memory_alloc("the order of samples", (size_t)n, sizeof *r->order, (void **)&r->order);
}

/* By what slices take, or as the configuration says. */
static status share_out(struct slice_run *r) {
    const struct training_config *c = r->task->config;
    int ranks = comm_size(r->machine->world);
    bool distilled = !r->task->joint || c->loss.distillation > 0;
    r->cached = strcmp(c->slices.cache, "off") != 0 && !r->task->augment && distilled &&
                (r->task->epochs > 1 || cache_asked(c));
    STATUS_TRY(slice_cost_measure(r->machine, r->task, r->cached, r->way->flushed, &r->cost));
    char *end = c->slices.stages;
    r->wanted = (int)strtol(end, &end, 10);
    r->fixed = *end != '\0';
    status error = r->fixed ? stages_parse(c->slices.stages, r->cost.cost.nslices, ranks, &r->stages)
                            : stages_create(&r->cost.cost, ranks, r->wanted, &r->stages);
    return comm_agree(r->machine->world, error);
}

static status report_stages(struct slice_run *r) {
    char *text = NULL;
    STATUS_TRY(comm_agree(r->machine->world, stages_print(r->stages, &text)));
    r->result->predicted = stages_utilization(r->stages, &r->cost.cost);
    snprintf(r->result->stages, sizeof r->result->stages, "%s", text);
    double mine = stage_bytes(&r->stage) + (double)r->way->memory(r->self);
    r->result->bytes = mine;
    free(text);
    STATUS_TRY(comm_max_f64(r->machine->world, &r->result->bytes, 1));
    log_line(
        r->machine->log, LOG_INFO,
        "%s: %d slices, stages (slices:ranks) %s; ranks would be busy %.0f %%; at most %.1f MiB of a rank",
        r->way->name, r->stages->nslices, r->result->stages, 100 * r->result->predicted,
        r->result->bytes / 1048576);
    LOG_EVENT(r->machine->log, "stages", {"way", 0, r->way->name}, {"stages", 0, r->result->stages},
              {"predicted_busy", r->result->predicted, NULL}, {"bytes", mine, NULL});
    return SUCCESS;
}

static status prepare(struct slice_run *r) {
    STATUS_TRY(comm_agree(r->machine->world, check(r)));
    STATUS_TRY(share_out(r));
    STATUS_TRY(slice_run_open(r));
    STATUS_TRY(slice_checkpoint_key(r));
    STATUS_TRY(comm_agree(r->machine->world, params_clone(r->stage.params, &r->best)));
    if (r->task->test) STATUS_TRY(test_before(r));
    return report_stages(r);
}

/* As many micro-batches as a way does well with, or fewer for a batch that cannot be divided so. */
static int64_t micro_batches_of(const struct slice_task *task) {
    int64_t n = task->config->slices.micro_batches;
    if (n) return n;
    for (n = task->joint ? 8 : 4; task->config->batch % n; n--)
        ;
    return n;
}

status slice_train_choose(const struct machine *machine, const struct slice_task *task, bool *answer) {
    struct training_config config = *task->config;
    struct slice_task mine = *task;
    struct slice_cost cost;
    struct stages *one = NULL, *best = NULL;
    char whole[48], *text = NULL;
    int ranks = comm_size(machine->world);
    config.slices.micro_batches = micro_batches_of(task);
    mine.config = &config;
    *answer = false;
    snprintf(whole, sizeof whole, "%d:%d", task->slicing->nslices, ranks);
    status error = slice_cost_measure(machine, &mine, !task->augment, true, &cost);
    if (!error) error = stages_parse(whole, task->slicing->nslices, ranks, &one);
    if (!error) error = stages_create(&cost.cost, ranks, 0, &best);
    if (!error) error = stages_print(best, &text);
    error = comm_agree(machine->world, error);
    if (!error) {
        double together = stages_seconds(one, &cost.cost), slices = stages_seconds(best, &cost.cost);
        *answer = best->nstages > 1 && (!isfinite(together) || slices * GAIN < together);
        if (isfinite(together))
            log_line(machine->log, LOG_INFO,
                     "%s: a batch would take %.2f ms with the whole target on each rank, %.2f in stages %s",
                     *answer ? "joint training" : "data-parallel training", 1e3 * together, 1e3 * slices,
                     text);
        else
            log_line(
                machine->log, LOG_INFO,
                "joint training: the whole target does not fit training.slices.rank_mib; a batch would take "
                "%.2f ms in stages %s",
                1e3 * slices, text);
    }
    free(text);
    stages_destroy(&one);
    stages_destroy(&best);
    slice_cost_free(&cost);
    return error;
}

status slice_train(const struct machine *machine, const struct slice_task *task,
                   struct slice_train_result *result) {
    struct training_config config = *task->config;
    struct slice_task mine = *task;
    *result = (struct slice_train_result){0};
    config.slices.micro_batches = micro_batches_of(task);
    mine.config = &config;
    struct slice_run r = {.machine = machine,
                          .task = &mine,
                          .way = task->joint ? &slice_way_joint : &slice_way_blockwise,
                          .result = result};
    status error = prepare(&r);
    interrupt_catch();
    if (!error) error = run_epochs(&r);
    interrupt_release();
    slice_run_close(&r);
    slice_cost_free(&r.cost);
    stages_destroy(&r.stages);
    params_destroy(&r.best);
    free(r.order);
    free(r.key);
    return error;
}

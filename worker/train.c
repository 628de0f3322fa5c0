#include "worker/train.h"
#include "worker/evaluate.h"
#include "worker/gradient_sum.h"
#include "worker/learning_rate.h"
#include "worker/loss.h"
#include "worker/optimizer.h"
#include "worker/weight_average.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET_BYTES ((size_t)1 << 20)

/* One rank's part of a training run. */
struct trainer {
    const struct machine *machine;
    const struct train_task *task;
    int64_t batch, first; /* this rank's samples of a global batch: [first, first + batch) */
    int64_t sample, classes;
    int64_t steps_per_epoch;
    struct exec *exec;
    struct params *grads;
    struct gradient_sum *sum;
    struct optimizer *optimizer;
    struct weight_average *average; /* NULL: off */
    int64_t *order;                 /* [training samples] of this epoch */
    float *x;                       /* (batch, sample) */
    int32_t *label;                 /* (batch) */
    float *grad;                    /* (batch, classes) */
};

/* ---- hooks of the engine ---- */

static void grad_ready(void *context, int param) {
    gradient_sum_ready(((struct trainer *)context)->sum, param);
}

static status sum_over_ranks(void *context, double *v, int n) {
    return comm_sum_f64(((struct trainer *)context)->machine->world, v, (size_t)n);
}

/* ---- life ---- */

static void trainer_close(struct trainer *t) {
    exec_destroy(&t->exec);
    params_destroy(&t->grads);
    gradient_sum_destroy(&t->sum);
    optimizer_destroy(&t->optimizer);
    weight_average_destroy(&t->average);
    free(t->order);
    free(t->x);
    free(t->label);
    free(t->grad);
}

static status mark_used(const struct opgraph *graph, bool **used) {
    bool *u = calloc((size_t)graph->nparams + 1, 1);
    if (!u) return status_no_memory("parameters", (size_t)graph->nparams);
    for (int i = 0; i < graph->nops; i++)
        for (int j = 0; j < 4; j++)
            if (graph->op[i].param[j] >= 0) u[graph->op[i].param[j]] = true;
    *used = u;
    return SUCCESS;
}

static status check_batch(const struct trainer *t, int64_t n) {
    int64_t batch = t->task->config->batch;
    int ranks = comm_size(t->machine->world);
    if (batch < ranks)
        return status_fail(
            STATUS_USAGE,
            "training.batch is %lld, fewer samples than the %d ranks; raise it or use fewer ranks",
            (long long)batch, ranks);
    if (n < batch)
        return status_fail(STATUS_USAGE,
                           "training.batch is %lld, but there are only %lld training samples; lower it",
                           (long long)batch, (long long)n);
    return SUCCESS;
}

static status trainer_open(struct trainer *t) {
    const struct train_task *task = t->task;
    const struct training_config *config = task->config;
    const struct opgraph *graph = task->graph;
    int rank = comm_rank(t->machine->world), ranks = comm_size(t->machine->world);
    int64_t n = dataset_size(task->data, DATASET_TRAIN);
    STATUS_TRY(check_batch(t, n));
    if (graph->ninputs != 1)
        return status_fail(STATUS_UNSUPPORTED, "the model has %d inputs; training takes one", graph->ninputs);
    t->first = share_begin(config->batch, rank, ranks);
    t->batch = share_begin(config->batch, rank + 1, ranks) - t->first;
    t->sample = shape_sample_count(&graph->value[graph->input[0]]);
    t->classes = shape_sample_count(&graph->value[graph->output[0]]);
    t->steps_per_epoch = n / config->batch;

    bool *used = NULL;
    STATUS_TRY(params_create(graph, &t->grads));
    STATUS_TRY(mark_used(graph, &used));
    status error = gradient_sum_create(t->machine->world, graph, used, t->grads, BUCKET_BYTES, &t->sum);
    free(used);
    STATUS_TRY(error);
    STATUS_TRY(optimizer_create(&config->optimizer, graph, task->params, t->machine->threads, &t->optimizer));
    if (config->average > 0) STATUS_TRY(weight_average_create(task->params, config->average, &t->average));
    STATUS_TRY(memory_alloc("the order of samples", (size_t)n, sizeof *t->order, (void **)&t->order));
    STATUS_TRY(memory_alloc("a batch", (size_t)(t->batch * t->sample), sizeof *t->x, (void **)&t->x));
    STATUS_TRY(memory_alloc("labels", (size_t)t->batch, sizeof *t->label, (void **)&t->label));
    STATUS_TRY(
        memory_alloc("gradients", (size_t)(t->batch * t->classes), sizeof *t->grad, (void **)&t->grad));
    struct exec_options options = {
        .batch = t->batch,
        .mode = EXEC_TRAIN,
        .threads = t->machine->threads,
        .batch_norm = !strcmp(config->batch_norm, "frozen") ? BATCH_NORM_FROZEN : BATCH_NORM_BATCH,
        .seed = task->seed,
        .grad_ready = grad_ready,
        .sum = ranks > 1 ? sum_over_ranks : NULL,
        .global_batch = config->batch,
        .context = t,
    };
    STATUS_TRY(t->machine->engine->compile(graph, &options, &t->exec));
    return exec_set_params(t->exec, task->params);
}

/* ---- one step ---- */

/* Forward, loss and backward of this rank's samples. */
static status compute(struct trainer *t, uint64_t epoch, int64_t step, uint64_t global_step,
                      struct loss_result *loss) {
    const struct train_task *task = t->task;
    const int64_t *index = t->order + step * task->config->batch + t->first;
    struct batch_request request = {
        .part = DATASET_TRAIN, .index = index, .n = t->batch, .augment = task->augment, .epoch = epoch};
    const float *teacher = NULL;
    status error = dataset_read(task->data, &request, t->x, t->label);
    if (!error && task->teacher) error = teacher_logits(task->teacher, index, t->x, t->batch, &teacher);
    /* Batch norm sums over the ranks in forward: all of them go there, or none. */
    STATUS_TRY(comm_agree(t->machine->world, error));
    exec_set_step(t->exec, global_step, (uint64_t)t->first);
    STATUS_TRY(exec_forward(t->exec, (const float *const[]){t->x}));
    loss_add(&task->config->loss, t->batch, t->classes, exec_output(t->exec, 0), teacher, t->label,
             task->config->batch, t->grad, loss);
    return exec_backward(t->exec, (const float *const[]){t->grad}, t->grads);
}

static status step_once(struct trainer *t, uint64_t epoch, int64_t step, struct loss_result *epoch_loss) {
    const struct train_task *task = t->task;
    int64_t global_step = (int64_t)epoch * t->steps_per_epoch + step;
    struct loss_result loss = {0};
    status error = compute(t, epoch, step, (uint64_t)global_step, &loss);
    error = status_first(error, gradient_sum_finish(t->sum));
    double sum[3] = {error ? 0 : loss.loss, (double)loss.correct, error ? 1 : 0};
    status summed = comm_sum_f64(t->machine->world, sum, 3);
    if (summed) return status_first(error, summed);
    if (sum[2] > 0) return comm_agree(t->machine->world, error);
    if (!isfinite(sum[0]))
        return status_fail(STATUS_DATA,
                           "the loss is not finite in epoch %llu, step %lld; lower training.schedule.rate or "
                           "set training.optimizer.clip",
                           (unsigned long long)epoch + 1, (long long)step + 1);
    epoch_loss->loss += sum[0];
    epoch_loss->correct += (int64_t)sum[1];
    double rate =
        learning_rate_at(&task->config->schedule, global_step, t->steps_per_epoch * task->config->epochs);
    optimizer_step(t->optimizer, task->params, t->grads, rate);
    if (t->average) weight_average_add(t->average, task->params);
    return SUCCESS;
}

/* ---- epochs ---- */

static status run_epoch(struct trainer *t, uint64_t epoch, struct loss_result *loss) {
    const struct train_task *task = t->task;
    struct log *log = t->machine->log;
    STATUS_TRY(comm_agree(t->machine->world, dataset_order(task->data, DATASET_TRAIN, epoch, t->order)));
    char what[64];
    snprintf(what, sizeof what, "epoch %llu/%lld", (unsigned long long)epoch + 1,
             (long long)task->config->epochs);
    log_progress_begin(log, what, "samples", (double)(t->steps_per_epoch * task->config->batch));
    status error = SUCCESS;
    for (int64_t step = 0; step < t->steps_per_epoch && !error; step++) {
        error = step_once(t, epoch, step, loss);
        if (error) break;
        char note[64];
        double done = (double)((step + 1) * task->config->batch);
        snprintf(note, sizeof note, "loss %.4f accuracy %.4f", loss->loss / done,
                 (double)loss->correct / done);
        log_progress(log, done, note);
    }
    log_progress_end(log);
    return comm_agree(t->machine->world, error);
}

/* Weights as they would be returned now: averaged, if averaging is on. */
static const struct params *current(const struct trainer *t) {
    return t->average ? weight_average_params(t->average) : t->task->params;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `candidate` and `best` hold copies of weights to evaluate and to return. */
static status run_epochs(struct trainer *t, struct params *candidate, struct params *best, double *rates,
                         struct train_result *result) {
    const struct train_task *task = t->task;
    struct log *log = t->machine->log;
    bool holdout = dataset_size(task->data, DATASET_HOLDOUT) > 0;
    size_t nbytes = (size_t)task->params->total * sizeof(float);
    struct evaluation begin = {0};
    if (holdout) STATUS_TRY(evaluate(t->machine, task->graph, best, task->data, DATASET_HOLDOUT, &begin));
    result->holdout_accuracy = begin.accuracy;
    for (int64_t epoch = 0; epoch < task->config->epochs; epoch++) {
        struct loss_result loss = {0};
        double start = comm_time();
        STATUS_TRY(run_epoch(t, (uint64_t)epoch, &loss));
        double n = (double)(t->steps_per_epoch * task->config->batch), seconds = comm_time() - start;
        rates[epoch] = n / seconds;
        result->train_loss = loss.loss / n;
        result->steps += t->steps_per_epoch;

        struct evaluation e = {0};
        memcpy(candidate->data, current(t)->data, nbytes);
        if (holdout)
            STATUS_TRY(evaluate(t->machine, task->graph, candidate, task->data, DATASET_HOLDOUT, &e));
        if (!holdout || e.accuracy > result->holdout_accuracy) {
            memcpy(best->data, candidate->data, nbytes);
            result->holdout_accuracy = e.accuracy;
            result->best_epoch = epoch + 1;
        }
        if (holdout)
            log_line(log, LOG_INFO,
                     "epoch %lld: loss %.4f, accuracy %.2f %%, hold-out %.2f %%, %.0f samples/s",
                     (long long)epoch + 1, result->train_loss, 100 * (double)loss.correct / n,
                     100 * e.accuracy, rates[epoch]);
        else
            log_line(log, LOG_INFO, "epoch %lld: loss %.4f, accuracy %.2f %%, %.0f samples/s",
                     (long long)epoch + 1, result->train_loss, 100 * (double)loss.correct / n, rates[epoch]);
        LOG_EVENT(log, "epoch", {"epoch", (double)epoch + 1, NULL}, {"loss", result->train_loss, NULL},
                  {"accuracy", (double)loss.correct / n, NULL}, {"holdout_loss", e.loss, NULL},
                  {"holdout_accuracy", e.accuracy, NULL}, {"samples_per_s", rates[epoch], NULL},
                  {"seconds", seconds, NULL});
    }
    memcpy(task->params->data, best->data, nbytes);
    qsort(rates, (size_t)task->config->epochs, sizeof *rates, compare);
    result->samples_per_s = rates[task->config->epochs / 2];
    return SUCCESS;
}

status train(const struct machine *machine, const struct train_task *task, struct train_result *result) {
    *result = (struct train_result){0};
    if (task->config->epochs == 0) return SUCCESS;
    struct trainer t = {.machine = machine, .task = task};
    struct params *candidate = NULL, *best = NULL;
    double *rates = NULL;
    status error = trainer_open(&t);
    if (!error) error = params_clone(task->params, &candidate);
    if (!error) error = params_clone(task->params, &best);
    if (!error)
        error = memory_alloc("epoch rates", (size_t)task->config->epochs, sizeof *rates, (void **)&rates);
    error = comm_agree(machine->world, error);
    if (!error) error = run_epochs(&t, candidate, best, rates, result);
    params_destroy(&candidate);
    params_destroy(&best);
    free(rates);
    trainer_close(&t);
    return error;
}

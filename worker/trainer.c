#include "worker/trainer.h"
#include "shared/interrupt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET_BYTES ((size_t)1 << 20)
#define AVERAGED_STEPS_MIN 10 /* where their number is automatic */

/* ---- hooks of the engine ---- */

static void grad_ready(void *context, int param) {
    gradient_sum_ready(((struct trainer *)context)->sum, param);
}

static status sum_over_ranks(void *context, double *v, int n) {
    return comm_sum_f64(((struct trainer *)context)->machine->world, v, (size_t)n);
}

/* ---- life ---- */

void trainer_close(struct trainer *t) {
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

status trainer_open(struct trainer *t) {
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
    STATUS_TRY(memory_alloc("parameters", (size_t)graph->nparams, 1, (void **)&used));
    opgraph_mark_params(graph, used);
    status error = gradient_sum_create(t->machine->world, graph, used, t->grads, BUCKET_BYTES, &t->sum);
    free(used);
    STATUS_TRY(error);
    STATUS_TRY(optimizer_create(&config->optimizer, graph, task->params, t->machine->threads, &t->optimizer));
    int64_t average = config->average < 0 ? t->steps_per_epoch : config->average;
    if (config->average < 0 && average < AVERAGED_STEPS_MIN) average = AVERAGED_STEPS_MIN;
    if (average > 0) STATUS_TRY(weight_average_create(task->params, average, &t->average));
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

status trainer_begin_epoch(struct trainer *t, int64_t epoch) {
    const struct opgraph *graph = t->task->graph;
    bool *trained = NULL;
    STATUS_TRY(dataset_order(t->task->data, DATASET_TRAIN, (uint64_t)epoch, t->order));
    if (!t->task->thaw) return SUCCESS;
    STATUS_TRY(memory_alloc("frozen weights", (size_t)graph->nparams, sizeof *trained, (void **)&trained));
    for (int i = 0; i < graph->nparams; i++) trained[i] = epoch >= t->task->thaw[i];
    optimizer_hold(t->optimizer, graph, t->task->params, trained);
    free(trained);
    return SUCCESS;
}

/* ---- one step ---- */

/* Forward, loss and backward of this rank's samples. */
static status compute(struct trainer *t, int64_t epoch, int64_t step, struct loss_result *loss) {
    const struct train_task *task = t->task;
    uint64_t global_step = (uint64_t)(epoch * t->steps_per_epoch + step);
    if (task->teacher) epoch = teacher_epoch(task->teacher, epoch);
    const int64_t *index = t->order + step * task->config->batch + t->first;
    struct batch_request request = {.part = DATASET_TRAIN,
                                    .index = index,
                                    .n = t->batch,
                                    .augment = task->augment,
                                    .epoch = (uint64_t)epoch};
    const float *teacher = NULL;
    int32_t *label = dataset_classes(task->data) || !task->teacher ? t->label : NULL;
    double at = comm_time();
    status error = dataset_read(task->data, &request, t->x, label);
    at = machine_span(t->machine, TRACE_COMPUTE, "read batch", -1, step, at);
    if (!error && task->teacher)
        error = teacher_logits(task->teacher, epoch, index, t->x, t->batch, &teacher);
    if (task->teacher) machine_span(t->machine, TRACE_COMPUTE, "teacher", -1, step, at);
    /* Batch norm sums over the ranks in forward: all of them go there, or none. */
    STATUS_TRY(comm_agree(t->machine->world, error));
    at = comm_time();
    exec_set_step(t->exec, global_step, (uint64_t)t->first);
    error = exec_forward(t->exec, (const float *const[]){t->x});
    if (!exec_goes_on(error)) return error;
    loss_add(&task->config->loss, t->batch, t->classes, exec_output(t->exec, 0), teacher, label,
             task->config->batch, t->grad, loss);
    at = machine_span(t->machine, TRACE_COMPUTE, "forward", -1, step, at);
    error = status_first(error, exec_backward(t->exec, (const float *const[]){t->grad}, t->grads));
    machine_span(t->machine, TRACE_COMPUTE, "backward", -1, step, at);
    return error;
}

status trainer_step(struct trainer *t, int64_t epoch, int64_t step, double rate,
                    struct loss_result *epoch_loss, bool *stop) {
    const struct train_task *task = t->task;
    struct loss_result loss = {0};
    status error = compute(t, epoch, step, &loss);
    error = status_first(error, gradient_sum_finish(t->sum));
    double sum[4] = {error ? 0 : loss.loss, (double)loss.correct, error ? 1 : 0,
                     interrupt_requested() ? 1 : 0};
    status summed = comm_sum_f64(t->machine->world, sum, 4);
    if (summed) return status_first(error, summed);
    if (sum[2] > 0) return comm_agree(t->machine->world, error);
    epoch_loss->loss += sum[0];
    epoch_loss->correct += (int64_t)sum[1];
    *stop = sum[3] > 0;
    if (!isfinite(sum[0])) return SUCCESS;
    double at = comm_time();
    optimizer_step(t->optimizer, task->params, t->grads, rate);
    if (t->average) weight_average_add(t->average, task->params);
    machine_span(t->machine, TRACE_COMPUTE, "optimizer", -1, step, at);
    return SUCCESS;
}

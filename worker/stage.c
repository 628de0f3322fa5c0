#include "worker/stage.h"
#include "worker/learning_rate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- life ---- */

void stage_close(struct stage *s) {
    params_destroy(&s->source);
    params_destroy(&s->params);
    params_destroy(&s->grads);
    params_destroy(&s->sum);
    optimizer_destroy(&s->optimizer);
    weight_average_destroy(&s->average);
    opgraph_destroy(&s->graph);
    free(s->slice_of);
    free(s->trained);
    s->slice_of = NULL;
    s->trained = NULL;
    comm_destroy(&s->group);
}

static status find_slices(struct stage *s) {
    const struct slicing *slicing = s->task->slicing;
    int n = slicing->target->nparams;
    bool *used = NULL;
    STATUS_TRY(memory_alloc("slices", (size_t)n, sizeof *s->slice_of, (void **)&s->slice_of));
    STATUS_TRY(memory_alloc("slices", (size_t)n, sizeof *s->trained, (void **)&s->trained));
    STATUS_TRY(memory_alloc("slices", (size_t)n, 1, (void **)&used));
    for (int p = 0; p < n; p++) s->slice_of[p] = -1;
    status error = SUCCESS;
    for (int i = s->first; i < s->end && !error; i++) {
        struct opgraph *cut = NULL;
        error = slicing_cut_target(slicing, i, i + 1, &cut);
        if (error) break;
        memset(used, 0, (size_t)n);
        opgraph_mark_params(cut, used);
        for (int p = 0; p < n; p++)
            if (used[p]) s->slice_of[p] = i;
        opgraph_destroy(&cut);
    }
    free(used);
    return error;
}

static status make_source(struct stage *s) {
    struct opgraph *cut = NULL;
    STATUS_TRY(slicing_cut_source(s->task->slicing, s->first, s->end, true, &cut));
    status error = params_create_part(cut, &s->source);
    if (!error) error = s->task->load(s->task->context, true, s->source);
    opgraph_destroy(&cut);
    return error;
}

static status make(struct stage *s) {
    const struct training_config *config = s->task->config;
    struct optimizer_config plain = config->optimizer;
    plain.clip = 0; /* stage_update() minds it */
    STATUS_TRY(find_slices(s));
    STATUS_TRY(make_source(s));
    STATUS_TRY(slicing_cut_target(s->task->slicing, s->first, s->end, &s->graph));
    STATUS_TRY(params_create_part(s->graph, &s->params));
    STATUS_TRY(s->task->load(s->task->context, false, s->params));
    STATUS_TRY(params_create_part(s->graph, &s->grads));
    STATUS_TRY(params_create_part(s->graph, &s->sum));
    STATUS_TRY(optimizer_create(&plain, s->graph, s->params, s->machine->threads, &s->optimizer));
    if (config->average > 0) STATUS_TRY(weight_average_create(s->params, config->average, &s->average));
    return SUCCESS;
}

status stage_open(struct stage *s, const struct machine *machine, const struct slice_task *task,
                  const struct stages *stages) {
    int rank = comm_rank(machine->world), index = stages_of_rank(stages, rank);
    int64_t batch = task->config->batch;
    *s = (struct stage){.machine = machine,
                        .task = task,
                        .stages = stages,
                        .index = index,
                        .first = stages->first_slice[index],
                        .end = stages->first_slice[index + 1],
                        .replica = rank - stages->first_rank[index],
                        .replicas = stages_ranks(stages, index),
                        .micro_batches = task->config->slices.micro_batches,
                        .micro = batch / task->config->slices.micro_batches,
                        .steps_per_epoch = dataset_size(task->data, DATASET_TRAIN) / batch};
    STATUS_TRY(comm_split(machine->world, index, rank, &s->group));
    return comm_agree(machine->world, make(s));
}

double stage_bytes(const struct stage *s) {
    int64_t floats = s->source->total + s->params->total + s->grads->total + s->sum->total +
                     4 * s->params->ntrainable + (s->average ? s->params->total : 0);
    return (double)floats * sizeof(float);
}

/* ---- turns ---- */

struct turn stage_first_turn(const struct stage *s, int64_t step, int64_t end) {
    return (struct turn){s->replica < s->micro_batches ? step : end, s->replica};
}

void stage_next_turn(const struct stage *s, int64_t end, struct turn *turn) {
    turn->m += s->replicas;
    if (turn->m < s->micro_batches) return;
    *turn = stage_first_turn(s, turn->step + 1, end);
}

const int64_t *stage_samples(const struct stage *s, const struct turn *turn) {
    return s->order + turn->step * s->task->config->batch + turn->m * s->micro;
}

status stage_read(const struct stage *s, const struct turn *turn, float *x, int32_t *label) {
    struct batch_request request = {.part = s->part,
                                    .index = stage_samples(s, turn),
                                    .n = s->micro,
                                    .augment = s->task->augment && s->part == DATASET_TRAIN,
                                    .epoch = (uint64_t)s->epoch};
    return dataset_read(s->task->data, &request, x, label);
}

void stage_begin_epoch(struct stage *s, int64_t epoch, const int64_t *order) {
    const struct opgraph *g = s->graph;
    s->epoch = epoch;
    s->part = DATASET_TRAIN;
    s->order = order;
    for (int i = 0; i < g->nparams; i++)
        s->trained[i] = g->param[i].trainable && (!s->task->thaw || epoch >= s->task->thaw[i]);
    optimizer_hold(s->optimizer, g, s->params, s->trained);
}

/* Of all threads of the process. */
static double process_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct span span_begin(void) {
    return (struct span){comm_time(), process_time()};
}

void stage_computed(struct stage *s, const char *name, int slice, const struct turn *turn, struct span span) {
    double now = comm_time();
    s->computed += now - span.at;
    s->worked += (process_time() - span.worked) / s->machine->threads;
    trace_add(s->machine->trace, TRACE_COMPUTE, name, slice < 0 ? s->first : slice,
              s->epoch * s->steps_per_epoch + turn->step, span.at, now);
}

/* ---- gradients ---- */

void stage_accumulate(struct stage *s, int slice) {
    for (int i = 0; i < s->params->n; i++) {
        if (!s->graph->param[i].trainable || s->slice_of[i] < 0 || (slice >= 0 && s->slice_of[i] != slice))
            continue;
        float *sum = params_at(s->sum, i);
        const float *one = params_at(s->grads, i);
        for (int64_t j = 0; j < s->sum->count[i]; j++) sum[j] += one[j];
    }
}

/* Squares of the gradients that are followed, of a slice, -1: of all. */
static double squares_of(const struct stage *s, int slice) {
    double squares = 0;
    for (int i = 0; i < s->params->n; i++) {
        if (s->slice_of[i] < 0 || !s->trained[i] || (slice >= 0 && s->slice_of[i] != slice)) continue;
        const float *g = params_at(s->sum, i);
        for (int64_t j = 0; j < s->sum->count[i]; j++) squares += (double)g[j] * g[j];
    }
    return squares;
}

static void shorten(struct stage *s, int slice, double squares) {
    double limit = s->task->config->optimizer.clip, norm = sqrt(squares);
    if (!(norm > limit)) return;
    for (int i = 0; i < s->params->n; i++) {
        if (s->slice_of[i] < 0 || (slice >= 0 && s->slice_of[i] != slice)) continue;
        float *g = params_at(s->sum, i);
        for (int64_t j = 0; j < s->sum->count[i]; j++) g[j] *= (float)(limit / norm);
    }
}

static status clip(struct stage *s) {
    if (!(s->task->config->optimizer.clip > 0)) return SUCCESS;
    if (!s->task->joint) {
        for (int i = s->first; i < s->end; i++) shorten(s, i, squares_of(s, i));
        return SUCCESS;
    }
    double squares = s->replica == 0 ? squares_of(s, -1) : 0;
    STATUS_TRY(comm_sum_f64(s->machine->world, &squares, 1));
    shorten(s, -1, squares);
    return SUCCESS;
}

status stage_update(struct stage *s, int64_t step, bool failed) {
    const struct training_config *config = s->task->config;
    int64_t total = s->steps_per_epoch * s->task->epochs;
    status error = comm_sum_f32(s->group, s->sum->data, (size_t)s->sum->ntrainable);
    error = status_first(error, clip(s));
    struct span begin = span_begin();
    if (!error && !failed) {
        double rate = learning_rate_at(&config->schedule, s->epoch * s->steps_per_epoch + step, total);
        optimizer_step(s->optimizer, s->params, s->sum, rate);
        if (s->average) weight_average_add(s->average, s->params);
    }
    memset(s->sum->data, 0, (size_t)s->sum->total * sizeof(float));
    stage_computed(s, "optimizer", -1, &(struct turn){.step = step}, begin);
    return error;
}

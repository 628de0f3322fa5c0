/* Where the slices of a run are: opening a stage, and moving to others. */
#include "worker/slice_run.h"
#include "io/scratch.h"
#include "worker/free_memory.h"
#include "worker/slice_state.h"
#include "worker/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GAIN 1.1 /* of other stages, for which it is worth moving */

/* ---- open and close ---- */

/* What stages on the node would keep, against what it has left, in memory and in the scratch folder. */
static status fits(const struct slice_run *r, bool *memory, bool *scratch) {
    const char *folder = r->task->config->slices.scratch;
    const struct stages *stages = r->stages;
    const struct machine *m = r->machine;
    int rank = comm_rank(m->world), index = stages_of_rank(stages, rank);
    double bytes =
        rank == stages->first_rank[index]
            ? boundary_cache_bytes(r->task->slicing, stages->first_slice[index],
                                   stages->first_slice[index + 1], dataset_size(r->task->data, DATASET_TRAIN))
            : 0;
    STATUS_TRY(comm_sum_f64(m->node, &bytes, 1));
    bool lacks[2] = {bytes > free_shared_memory() / 2, !*folder || bytes > scratch_free(folder) / 2};
    for (int i = 0; i < 2; i++) STATUS_TRY(comm_any(m->world, lacks[i], &lacks[i]));
    *memory = !lacks[0];
    *scratch = !lacks[1];
    return SUCCESS;
}

static status make_cache(struct slice_run *r) {
    const struct slices_config *config = &r->task->config->slices;
    const char *wish = config->cache;
    bool memory = false, scratch = false;
    if (!r->cached) return SUCCESS;
    STATUS_TRY(fits(r, &memory, &scratch));
    if (!memory && !scratch && !strcmp(wish, "auto")) {
        log_line(r->machine->log, LOG_INFO, "too little memory to keep the source's activations%s",
                 *config->scratch ? ", and too little room in the scratch folder" : "");
        return SUCCESS;
    }
    const bool in_file = !strcmp(wish, "scratch") || (!memory && scratch);
    double begin = comm_time();
    status error = boundary_cache_create(&r->stage, in_file ? config->scratch : NULL, &r->cache);
    if (status_code(error) == STATUS_UNSUPPORTED && !strcmp(wish, "auto")) status_drop(&error);
    bool here = r->cache != NULL, lacks;
    STATUS_TRY(comm_agree(r->machine->world, error));
    STATUS_TRY(comm_any(r->machine->world, !here, &lacks));
    if (lacks) {
        boundary_cache_destroy(&r->cache);
        return SUCCESS;
    }
    STATUS_TRY(sweep_source(&r->stage, r->cache));
    log_line(r->machine->log, LOG_INFO, "the source's activations are kept%s: one pass of %.1f s",
             in_file ? " in the scratch folder" : "", comm_time() - begin);
    return SUCCESS;
}

status slice_run_open(struct slice_run *r) {
    STATUS_TRY(stage_open(&r->stage, r->machine, r->task, r->stages));
    STATUS_TRY(make_cache(r));
    return comm_agree(r->machine->world, r->way->open(&r->stage, r->cache, &r->self));
}

void slice_run_close(struct slice_run *r) {
    if (r->self) r->way->close(&r->self);
    boundary_cache_destroy(&r->cache);
    stage_close(&r->stage);
}

/* ---- move ---- */

struct params slice_moments(const struct stage *s, float *moment, int64_t *count) {
    struct params view = *s->params;
    view.data = moment;
    view.count = count;
    for (int i = 0; i < view.n; i++) count[i] = s->graph->param[i].trainable ? s->params->count[i] : 0;
    return view;
}

/* All that has been learned, from the stage before to the new one. */
static status carry(struct slice_run *r, const struct stage *old, const struct params *old_best,
                    int64_t *count) {
    const struct comm *world = r->machine->world;
    const struct slicing *slicing = r->task->slicing;
    struct stage *s = &r->stage;
    int64_t *to_count = count + s->params->n;
    STATUS_TRY(slice_state_move(world, slicing, false, old->stages, old->params, s->params));
    STATUS_TRY(slice_state_move(world, slicing, false, old->stages, old_best, r->best));
    if (s->average) {
        STATUS_TRY(slice_state_move(world, slicing, false, old->stages, weight_average_params(old->average),
                                    weight_average_params(s->average)));
        *weight_average_steps(s->average) = *weight_average_steps(old->average);
    }
    float *(*const moment[])(const struct optimizer *) = {optimizer_first, optimizer_second};
    for (int i = 0; i < 2 && moment[i](s->optimizer); i++) {
        struct params from = slice_moments(old, moment[i](old->optimizer), count),
                      to = slice_moments(s, moment[i](s->optimizer), to_count);
        STATUS_TRY(slice_state_move(world, slicing, false, old->stages, &from, &to));
    }
    *optimizer_steps(s->optimizer) = *optimizer_steps(old->optimizer);
    return SUCCESS;
}

static status move_to(struct slice_run *r, struct stages *stages) {
    struct stage old = r->stage;
    struct params *old_best = r->best;
    struct stages *old_stages = r->stages;
    int64_t *count = calloc(2 * (size_t)old.params->n + 2, sizeof *count);
    r->way->close(&r->self);
    boundary_cache_destroy(&r->cache);
    r->stage = (struct stage){0};
    r->stages = stages;
    r->best = NULL;
    status error = comm_agree(r->machine->world, count ? SUCCESS : status_no_memory("slices", 0));
    if (!error) error = slice_run_open(r);
    if (!error) error = comm_agree(r->machine->world, params_clone(r->stage.params, &r->best));
    if (!error) error = carry(r, &old, old_best, count);
    stage_close(&old);
    params_destroy(&old_best);
    stages_destroy(&old_stages);
    free(count);
    return error;
}

/* The cost of slices as it was in the last epoch: each stage's in proportion to what was thought. */
static status measure(struct slice_run *r, double computed) {
    const struct stage *s = &r->stage;
    int n = r->stages->nstages;
    double *seconds = calloc((size_t)n + 1, sizeof *seconds);
    STATUS_TRY(comm_agree(r->machine->world, seconds ? SUCCESS : status_no_memory("slices", 0)));
    seconds[s->index] = computed / (double)s->steps_per_epoch;
    status error = comm_sum_f64(r->machine->world, seconds, (size_t)n);
    for (int i = 0; i < n && !error; i++) {
        double thought = 0;
        for (int k = r->stages->first_slice[i]; k < r->stages->first_slice[i + 1]; k++)
            thought += r->cost.compute[k];
        for (int k = r->stages->first_slice[i]; k < r->stages->first_slice[i + 1] && thought > 0; k++)
            r->cost.compute[k] *= seconds[i] / thought;
    }
    free(seconds);
    return error;
}

status slice_run_rebalance(struct slice_run *r, double computed) {
    struct stages *other = NULL;
    STATUS_TRY(measure(r, computed));
    /* All ranks have the same numbers, and so the same answer. */
    STATUS_TRY(comm_agree(r->machine->world,
                          stages_create(&r->cost.cost, comm_size(r->machine->world), r->wanted, &other)));
    double now = stages_seconds(r->stages, &r->cost.cost), then = stages_seconds(other, &r->cost.cost);
    if (stages_equal(other, r->stages) || then * GAIN > now) {
        stages_destroy(&other);
        return SUCCESS;
    }
    char *text = NULL;
    status error = comm_agree(r->machine->world, stages_print(other, &text));
    if (!error)
        log_line(r->machine->log, LOG_INFO, "stages become %s: a batch took %.2f ms, should take %.2f", text,
                 1e3 * now, 1e3 * then);
    free(text);
    if (error) {
        stages_destroy(&other);
        return error;
    }
    return move_to(r, other);
}

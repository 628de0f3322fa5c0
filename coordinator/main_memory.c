/* The steps of a migration with the models in memory. */
#include "coordinator/main_memory.h"

#include "coordinator/budget.h"
#include "coordinator/freeze.h"
#include "coordinator/main_blocks.h"
#include "coordinator/main_channels.h"
#include "coordinator/main_ranks.h"
#include "coordinator/program.h"
#include "worker/correspondence.h"
#include "worker/refit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static status create_model(const struct graph *graph, struct model **model) {
    struct graph *copy = NULL;
    STATUS_TRY(graph_clone(graph, &copy));
    return model_create(copy, model);
}

/* Also in the place of one of other widths. */
static status create_target(struct migration_run *m) {
    opgraph_destroy(&m->target_logits);
    model_destroy(&m->target);
    STATUS_TRY(create_model(m->compiled->target, &m->target));
    return model_logits(m->target, &m->target_logits);
}

status memory_create_source(struct migration_run *m) {
    const struct session *session = m->job.session;
    struct graph *copy = NULL;
    STATUS_TRY(comm_agree(session->world, graph_clone(m->compiled->fold->graph, &copy)));
    STATUS_TRY(comm_agree(session->world, model_create_shared(copy, session->node, &m->source)));
    return comm_agree(session->world, model_logits(m->source, &m->source_logits));
}

/* The target's models, without their weights yet. */
static status create_models(struct migration_run *m) {
    if (m->compiled->uncut) STATUS_TRY(create_model(m->compiled->skeleton->graph, &m->uncut));
    return create_target(m);
}

/* A name that fits no layer is better said before the work than after it. */
static status check_freeze(const struct migration_run *m) {
    int64_t *thaw = NULL;
    status error = freeze_parse(&m->job.config->training, m->target->graph, &thaw);
    free(thaw);
    return error;
}

status memory_compile(struct migration_run *m) {
    STATUS_TRY(migration_compile(m));
    if (!m->ground) STATUS_TRY(memory_create_source(m));
    status error = create_models(m);
    if (!error) error = check_freeze(m);
    return comm_agree(m->job.session->world, error);
}

status memory_execute(struct migration_run *m, const struct plan *plan, const bool *stale,
                      struct params *params) {
    struct migration migration;
    STATUS_TRY(migration_prepare(m, plan, &migration));
    migration.stale = stale;
    status error = migrate(&m->job.machine, &migration, params);
    migration_release(&migration);
    return error;
}

status memory_read_source(struct migration_run *m) {
    return m->ground ? SUCCESS : memory_execute(m, m->compiled->whole, NULL, m->source->params);
}

status memory_read_uncut(struct migration_run *m) {
    return m->uncut ? memory_execute(m, m->compiled->uncut, NULL, m->uncut->params) : SUCCESS;
}

/* Through a file in the folder of the run folders, which a run that was killed finds again. */
static status stream_target(struct migration_run *m) {
    const struct config *c = m->job.config;
    char *path = NULL;
    int length = asprintf(&path, "%s/%s.migration", c->runs, c->name);
    STATUS_TRY(comm_agree(m->job.session->world, length < 0 ? status_no_memory("a path", 0) : SUCCESS));
    status error = migration_stream(m, &(struct stream_task){.path = path, .params = m->target->params});
    free(path);
    return error;
}

status memory_migrate(struct migration_run *m) {
    return migration_chunk_bytes(m->job.config)
               ? stream_target(m)
               : memory_execute(m, m->compiled->plan, NULL, m->target->params);
}

static status refit_model(struct migration_run *m, struct model *model, struct plan *plan,
                          const struct refit_config *config, const signed char *due) {
    const struct comm *world = m->job.session->world;
    int *source_value = calloc((size_t)model->ops->nvalues + 1, sizeof *source_value);
    STATUS_TRY(comm_agree(world, source_value ? SUCCESS : status_no_memory("a refit", 0)));
    correspond(model, m->source, m->compiled->skeleton->origin, m->compiled->skeleton->twin, source_value);
    struct refit task = {.config = config,
                         .calibration = m->calibration,
                         .source = m->source->ops,
                         .target = model->ops,
                         .source_value = source_value,
                         .source_params = m->source->params,
                         .target_params = model->params,
                         .due = due,
                         .plan = plan,
                         .stops = m->ground != NULL};
    status error = refit(&m->job.machine, &task);
    free(source_value);
    return error;
}

/* The full-width target, on which channels are measured, has to compute what the source does. */
static status refit_uncut(struct migration_run *m) {
    struct refit_config config = m->job.config->refit;
    config.sweeps = 0;
    return refit_model(m, m->uncut, m->compiled->uncut, &config, NULL);
}

static status calibrate(struct migration_run *m) {
    const struct config *c = m->job.config;
    if (m->calibration) return SUCCESS;
    return calibration_create(&m->job.machine, m->job.data, c->refit.samples, (uint64_t)c->seed, false,
                              &m->calibration);
}

/* For a configuration that has been changed before anything else was made of the target. */
static status compile_anew(struct migration_run *m) {
    STATUS_TRY(migration_compile_again(m));
    model_destroy(&m->uncut);
    status error = m->compiled->uncut ? create_model(m->compiled->skeleton->graph, &m->uncut) : SUCCESS;
    if (!error) error = create_target(m);
    if (!error) error = check_freeze(m);
    return comm_agree(m->job.session->world, error);
}

status memory_leave_out_blocks(struct migration_run *m) {
    STATUS_TRY(calibrate(m));
    const struct blocks_task task = {.machine = &m->job.machine,
                                     .config = &m->job.config->target,
                                     .calibration = m->calibration,
                                     .source = m->source};
    STATUS_TRY(blocks_choose(&task));
    return compile_anew(m);
}

status memory_choose_ranks(struct migration_run *m) {
    STATUS_TRY(calibrate(m));
    const struct ranks_task task = {.machine = &m->job.machine,
                                    .config = &m->job.config->target,
                                    .calibration = m->calibration,
                                    .source = m->source};
    STATUS_TRY(ranks_choose(&task));
    return compile_anew(m);
}

/* Widths first, if there is a budget and the program is not given: that makes another target. */
status memory_choose_channels(struct migration_run *m) {
    const struct config *c = m->job.config;
    STATUS_TRY(calibrate(m));
    struct channels_task task = {.machine = &m->job.machine,
                                 .config = c,
                                 .calibration = m->calibration,
                                 .source = m->source,
                                 .full = m->uncut ? m->uncut : m->source,
                                 .compiled = m->compiled};
    bool allot = budget_is_set(&c->target) && !m->plan_path &&
                 (m->calibration->total || budget_needs_latency(&c->target));
    if (m->uncut && m->calibration->total && (allot || !compile_is_given(m->compiled)))
        STATUS_TRY(refit_uncut(m));
    if (allot) {
        STATUS_TRY(channels_allot(&task, &m->latency_limit_s));
        STATUS_TRY(comm_agree(m->job.session->world, create_target(m)));
    }
    return channels_choose(&task);
}

status memory_refit(struct migration_run *m, const signed char *due) {
    return refit_model(m, m->target, m->compiled->plan, &m->job.config->refit, due);
}

status memory_keep_base(struct migration_run *m) {
    if (m->base) {
        memcpy(m->base->data, m->target->params->data, (size_t)m->base->total * sizeof(float));
        return SUCCESS;
    }
    return comm_agree(m->job.session->world, params_clone(m->target->params, &m->base));
}

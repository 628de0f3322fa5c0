/* A migration whose ranks have only their slices of source and target. */
#include "coordinator/main_slices.h"

#include "coordinator/budget.h"
#include "coordinator/freeze.h"
#include "coordinator/main_stream.h"
#include "worker/finish.h"
#include "worker/slice_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status slices_find(const struct migration_run *m, struct slicing **slicing) {
    struct compiled_boundary *end = NULL;
    int n = 0;
    status error = compile_boundaries(m->compiled, &n, &end);
    struct boundary *candidate = error ? NULL : calloc((size_t)n + 1, sizeof *candidate);
    if (!error && !candidate) error = status_no_memory("slices", (size_t)n * sizeof *candidate);
    for (int i = 0; i < n; i++) {
        if (error) free(end[i].column);
        else
            candidate[i] = (struct boundary){m->source->value_of[end[i].source],
                                             m->target->value_of[end[i].target], end[i].column};
    }
    free(end);
    if (error) return error;
    return slicing_create(m->source_logits, m->target_logits, !migration_is_new_task(m), n, candidate,
                          slicing);
}

bool slices_suffice(const struct migration_run *m) {
    const struct config *c = m->job.config;
    const struct training_config *t = &c->training;
    bool measures =
             budget_needs_latency(&c->target) || c->target.blocks_removed > 0 || c->target.rank_energy > 0,
         slices = t->epochs ? strcmp(t->way, "data_parallel") != 0 : t->blockwise_epochs > 0;
    return slices && c->refit.samples == 0 && !measures && !m->followed && !m->ground;
}

/* ---- what slices are made of ---- */

/* The two programs that give source and target. */
struct programs {
    const struct machine *machine;
    struct migration source, target;
    const struct params *trained; /* what the target has become, in its place; NULL */
};

static status load_part(void *context, bool source, struct params *part) {
    const struct programs *p = context;
    if (!source && p->trained) {
        params_copy(p->trained, part);
        return SUCCESS;
    }
    return migrate_part(p->machine, source ? &p->source : &p->target, part);
}

static status prepare_programs(const struct migration_run *m, struct programs *p) {
    *p = (struct programs){.machine = &m->job.machine};
    STATUS_TRY(migration_prepare(m, m->compiled->whole, &p->source));
    STATUS_TRY(migration_prepare(m, m->compiled->plan, &p->target));
    p->source.chunk_bytes = p->target.chunk_bytes = migration_chunk_bytes(m->job.config);
    return SUCCESS;
}

static void release_programs(struct programs *p) {
    migration_release(&p->source);
    migration_release(&p->target);
}

static status outline(const struct graph *graph, struct model **model, struct opgraph **logits) {
    struct graph *copy = NULL;
    STATUS_TRY(graph_clone(graph, &copy));
    STATUS_TRY(model_outline(copy, model));
    return model_logits(*model, logits);
}

static status outline_models(struct migration_run *m) {
    STATUS_TRY(outline(m->compiled->fold->graph, &m->source, &m->source_logits));
    return outline(m->compiled->target, &m->target, &m->target_logits);
}

/* ---- train ---- */

/* One way after the other: between them, and if something is done last, every rank has the target. */
static status train_slices(struct migration_run *m, struct programs *programs, const struct slicing *slicing,
                           const int64_t *thaw, bool gather) {
    const struct config *c = m->job.config;
    const struct training_config *t = &c->training;
    struct training_config config = *t;
    int64_t epochs[] = {t->blockwise_epochs, t->epochs};
    const bool joint[] = {false, !strcmp(t->way, "joint")};
    const char *checkpoint[] = {m->job.blockwise_checkpoint, m->job.checkpoint};
    if (migration_is_new_task(m)) config.loss.distillation = 0;
    double source_accuracy = NAN, start_accuracy = NAN;
    for (int i = 0; i < 2; i++) {
        if (!epochs[i]) continue;
        bool wanted = gather || comm_is_root(m->job.session->world) || (i == 0 && epochs[1]);
        status error =
            wanted && !m->target->params ? params_create(m->target->ops, &m->target->params) : SUCCESS;
        STATUS_TRY(comm_agree(m->job.session->world, error));
        struct slice_task task = {.config = &config,
                                  .joint = joint[i],
                                  .epochs = epochs[i],
                                  .seed = (uint64_t)c->seed,
                                  .data = m->job.data,
                                  .augment = c->data.flip || c->data.shift > 0,
                                  .slicing = slicing,
                                  .load = load_part,
                                  .context = programs,
                                  .params = m->target->params,
                                  .thaw = thaw,
                                  .test = true,
                                  .checkpoint = checkpoint[i],
                                  .checkpoint_key = m->job.checkpoint_key};
        struct slice_train_result result;
        STATUS_TRY(slice_train(&m->job.machine, &task, &result));
        if (!programs->trained) {
            source_accuracy = result.source_accuracy;
            start_accuracy = result.start_accuracy;
        }
        m->report.target.accuracy = result.accuracy;
        programs->trained = m->target->params;
    }
    m->report.source.accuracy = source_accuracy;
    m->report.refit_accuracy = start_accuracy;
    return SUCCESS;
}

static status train_and_finish(struct migration_run *m, const int64_t *thaw) {
    bool finishes = plan_finishes(m->compiled->plan);
    struct slicing *slicing = NULL;
    struct programs programs;
    STATUS_TRY(comm_agree(m->job.session->world, slices_find(m, &slicing)));
    status error = prepare_programs(m, &programs);
    if (!error) error = train_slices(m, &programs, slicing, thaw, finishes);
    release_programs(&programs);
    slicing_destroy(&slicing);
    if (error || !finishes) return error;
    migration_phase(m, "finish");
    STATUS_TRY(calibration_create(&m->job.machine, m->job.data, 0, (uint64_t)m->job.config->seed, false,
                                  &m->calibration));
    const struct finish task = {m->compiled->plan, m->target->ops, m->target->params, m->calibration};
    return finish(&m->job.machine, &task);
}

status slices_phases(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    int64_t *thaw = NULL;
    migration_phase(m, "compile");
    STATUS_TRY(migration_compile(m));
    STATUS_TRY(comm_agree(world, outline_models(m)));
    STATUS_TRY(comm_agree(world, freeze_parse(&m->job.config->training, m->target->graph, &thaw)));
    status error = job_open_data(&m->job, m->target);
    if (!error) error = migration_describe(m);
    if (!error) {
        migration_phase(m, "select");
        error = stream_choose_channels(m);
    }
    if (!error) {
        migration_phase(m, "fine-tune");
        error = train_and_finish(m, thaw);
    }
    free(thaw);
    return error ? error : stream_show_memory(m);
}

status slices_deliver(struct migration_run *m) {
    char *preprocessing = NULL;
    STATUS_TRY(comm_agree(m->job.session->world, dataset_preprocessing(m->job.data, &preprocessing)));
    free(m->target->preprocessing);
    m->target->preprocessing = preprocessing;
    return migration_publish(m, &(struct job_result){.model = m->target});
}

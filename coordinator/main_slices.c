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

/* Where source and target are cut. Not collective. */
static status find_slicing(const struct migration_run *m, struct slicing **slicing) {
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
         automatic = !strcmp(t->way, "auto") && t->slices.rank_mib > 0,
         slices = t->epochs ? automatic || !strcmp(t->way, "joint") || !strcmp(t->way, "blockwise")
                            : t->blockwise_epochs > 0;
    return slices && c->refit.samples == 0 && !measures && !m->followed && !m->ground;
}

/* ---- models that each rank has ---- */

#define EPOCHS 10 /* where their number is automatic */

/* What is still automatic, where nothing was measured. */
static void settle(struct training_config *c, int64_t samples) {
    tune_take_usual(c, samples, 1);
    if (c->epochs < 0) c->epochs = EPOCHS;
    if (c->average < 0) c->average = 0;
}

static struct slice_task task_of(const struct migration_run *m, const struct slicing *slicing,
                                 const struct training_config *config, const int64_t *thaw) {
    struct augmentation augmentation = dataset_augmentation(m->job.data);
    return (struct slice_task){.config = config,
                               .epochs = config->epochs,
                               .seed = (uint64_t)m->job.config->seed,
                               .data = m->job.data,
                               .augment = augmentation.flip || augmentation.shift > 0,
                               .slicing = slicing,
                               .thaw = thaw,
                               .checkpoint_key = m->job.checkpoint_key};
}

static status train_tuned(struct migration_run *m, const struct slices_training *t,
                          const struct tuning *tuning) {
    struct slicing *slicing = NULL;
    struct training_config config = tuning->config;
    struct slice_train_result result;
    struct slice_models models = {m->source->params, m->target->params};
    config.epochs = t->epochs;
    settle(&config, dataset_size(m->job.data, DATASET_TRAIN));
    STATUS_TRY(comm_agree(m->job.session->world, find_slicing(m, &slicing)));
    struct slice_task task = task_of(m, slicing, &config, t->job->thaw);
    task.joint = !t->blockwise;
    task.load = slice_load;
    task.context = &models;
    task.params = m->target->params;
    task.checkpoint = t->checkpoint;
    status error = slice_train(&m->job.machine, &task, &result);
    slicing_destroy(&slicing);
    if (error) return error;
    m->trained = job_trained_by(&config, tuning);
    m->trained.epochs = config.epochs;
    m->trained.best_epoch = result.best_epoch;
    m->trained.holdout_accuracy = result.holdout_accuracy;
    m->trained.samples_per_s = result.samples_per_s;
    return SUCCESS;
}

status slices_train(struct migration_run *m, const struct slices_training *t) {
    struct tuning tuning = {0};
    STATUS_TRY(job_tune(&m->job, t->job, &tuning));
    teacher_destroy(&tuning.teacher); /* slices have their own */
    status error = train_tuned(m, t, &tuning);
    tune_release(&tuning);
    return error;
}

status slices_are_faster(struct migration_run *m, const struct job_training *training, bool *answer) {
    struct slicing *slicing = NULL;
    struct training_config config = m->job.config->training;
    *answer = false;
    if (comm_size(m->job.session->world) == 1 && !(config.slices.rank_mib > 0)) return SUCCESS;
    settle(&config, dataset_size(m->job.data, DATASET_TRAIN));
    if (!training->source) config.loss.distillation = 0;
    STATUS_TRY(comm_agree(m->job.session->world, find_slicing(m, &slicing)));
    struct slice_task task = task_of(m, slicing, &config, training->thaw);
    task.joint = true;
    status error = slicing->nslices > 1 ? slice_train_choose(&m->job.machine, &task, answer) : SUCCESS;
    slicing_destroy(&slicing);
    return error;
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
    settle(&config, dataset_size(m->job.data, DATASET_TRAIN));
    int64_t epochs[] = {t->blockwise_epochs, config.epochs};
    const bool joint[] = {false, strcmp(t->way, "blockwise") != 0};
    const char *checkpoint[] = {m->job.blockwise_checkpoint, m->job.checkpoint};
    if (migration_is_new_task(m)) config.loss.distillation = 0;
    double source_accuracy = NAN, start_accuracy = NAN;
    for (int i = 0; i < 2; i++) {
        if (!epochs[i]) continue;
        bool wanted = gather || comm_is_root(m->job.session->world) || (i == 0 && epochs[1]);
        status error =
            wanted && !m->target->params ? params_create(m->target->ops, &m->target->params) : SUCCESS;
        STATUS_TRY(comm_agree(m->job.session->world, error));
        struct slice_task task = task_of(m, slicing, &config, thaw);
        task.joint = joint[i];
        task.epochs = epochs[i];
        task.load = load_part;
        task.context = programs;
        task.params = m->target->params;
        task.test = true;
        task.checkpoint = checkpoint[i];
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
    STATUS_TRY(comm_agree(m->job.session->world, find_slicing(m, &slicing)));
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

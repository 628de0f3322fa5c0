/* godwit migrate CONFIG: the main job. */
#include "coordinator/command.h"
#include "coordinator/budget.h"
#include "coordinator/main_channels.h"
#include "coordinator/main_commands.h"
#include "coordinator/main_dry_run.h"
#include "coordinator/main_migration.h"

#include "worker/correspondence.h"
#include "worker/evaluate.h"
#include "worker/finish.h"
#include "worker/refit.h"
#include "worker/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_SECONDS 0.5

struct options {
    struct config_arguments config;
    const char *plan;
    bool dry_run;
};

static const struct argp_option argp_options[] = {
    {"plan", 'p', "FILE", 0, "Run the program in FILE instead of the one that the target's settings give", 0},
    {"dry-run", 'n', NULL, 0,
     "Only say what would be done: the program, sizes, and what each rank would read", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        return 0;
    case 'n':
        options->dry_run = true;
        return 0;
    case 'p':
        options->plan = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

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

/* The models, without their weights yet. */
static status create_models(struct migration_run *m) {
    STATUS_TRY(create_model(m->compiled->fold->graph, &m->source));
    if (m->compiled->uncut) STATUS_TRY(create_model(m->compiled->skeleton->graph, &m->uncut));
    STATUS_TRY(model_logits(m->source, &m->source_logits));
    return create_target(m);
}

static status compile(struct migration_run *m) {
    STATUS_TRY(migration_compile(m));
    return comm_agree(m->job.session->world, create_models(m));
}

/* ---- migrate ---- */

/* A model at full width, into memory. */
static status read_model(struct migration_run *m, const struct plan *plan, struct params *params) {
    struct migration migration;
    STATUS_TRY(migration_prepare(m, plan, &migration));
    status error = migrate(&m->job.machine, &migration, params);
    migration_release(&migration);
    return error;
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

static status migrate_target(struct migration_run *m) {
    return migration_chunk_bytes(m->job.config) ? stream_target(m)
                                                : read_model(m, m->compiled->plan, m->target->params);
}

/* Widths first, if there is a budget and the program is not given: that makes another target. */
static status choose_channels(struct migration_run *m) {
    const struct config *c = m->job.config;
    STATUS_TRY(calibration_create(&m->job.machine, m->job.data, c->refit.samples, (uint64_t)c->seed,
                                  &m->calibration));
    struct channels_task task = {.machine = &m->job.machine,
                                 .config = c,
                                 .calibration = m->calibration,
                                 .full = m->uncut ? m->uncut : m->source,
                                 .compiled = m->compiled};
    if (budget_is_set(&c->target) && !m->plan_path && m->calibration->total) {
        STATUS_TRY(channels_allot(&task));
        STATUS_TRY(comm_agree(m->job.session->world, create_target(m)));
    }
    return channels_choose(&task);
}

static status refit_target(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    int *source_value = calloc((size_t)m->target->ops->nvalues + 1, sizeof *source_value);
    STATUS_TRY(comm_agree(world, source_value ? SUCCESS : status_no_memory("a refit", 0)));
    correspond(m->target, m->source, m->compiled->skeleton->origin, source_value);
    struct refit task = {.config = &m->job.config->refit,
                         .calibration = m->calibration,
                         .source = m->source->ops,
                         .target = m->target->ops,
                         .source_value = source_value,
                         .source_params = m->source->params,
                         .target_params = m->target->params,
                         .plan = m->compiled->plan};
    status error = refit(&m->job.machine, &task);
    free(source_value);
    return error;
}

/* ---- evaluate ---- */

static status accuracy_of(struct migration_run *m, const struct opgraph *logits, struct params *params,
                          const char *what, double *accuracy) {
    struct evaluation e = {0};
    STATUS_TRY(evaluate(&m->job.machine, logits, params, m->job.data, DATASET_TEST, &e));
    *accuracy = e.samples ? e.accuracy : NAN;
    if (e.samples)
        log_line(m->job.session->log, LOG_INFO, "%s: test accuracy %.2f %% (%lld of %lld)", what,
                 100 * e.accuracy, (long long)e.correct, (long long)e.samples);
    LOG_EVENT(m->job.session->log, "test", {"model", 0, what}, {"accuracy", e.accuracy, NULL},
              {"loss", e.loss, NULL});
    return SUCCESS;
}

/* ---- fine-tune ---- */

/* The refitted target is kept in the run folder, so that nothing is lost if fine-tuning fails. Collective. */
static status keep_refitted(struct migration_run *m) {
    char *path = NULL;
    status error = SUCCESS;
    if (comm_is_root(m->job.session->world)) {
        if (asprintf(&path, "%s/refit.h5", run_folder_path(m->job.folder)) < 0)
            error = status_no_memory("a path", 0);
        if (!error) error = model_write(path, m->target);
        free(path);
    }
    return comm_agree(m->job.session->world, error);
}

static void warn_if_worse(const struct migration_run *m) {
    if (m->report.target.accuracy < m->report.refit_accuracy)
        log_line(m->job.session->log, LOG_WARN,
                 "fine-tuning made the target worse; lower training.schedule.rate, or set "
                 "data.holdout so that the best weights are kept (the refitted ones are in %s/refit.h5)",
                 run_folder_path(m->job.folder));
}

static bool is_new_task(const struct migration_run *m) {
    return m->job.config->target.head > 0;
}

static status fine_tune(struct migration_run *m) {
    const struct config *c = m->job.config;
    struct teacher *teacher = NULL;
    struct training_config training = c->training;
    if (is_new_task(m)) training.loss.distillation = 0; /* the source knows nothing of it */
    bool augment = c->data.flip || c->data.shift > 0, distil = training.loss.distillation > 0;
    int ranks = comm_size(m->job.session->world);
    int64_t batch = (c->training.batch + ranks - 1) / ranks;
    if (distil)
        STATUS_TRY(teacher_create(&m->job.machine, m->source_logits, m->source->params, m->job.data, !augment,
                                  batch, &teacher));
    struct train_task task = {.config = &training,
                              .seed = (uint64_t)c->seed,
                              .data = m->job.data,
                              .augment = augment,
                              .graph = m->target_logits,
                              .params = m->target->params,
                              .teacher = teacher,
                              .checkpoint = m->job.checkpoint,
                              .checkpoint_key = m->job.checkpoint_key};
    struct train_result result;
    status error = train(&m->job.machine, &task, &result);
    teacher_destroy(&teacher);
    return error;
}

/* ---- report and publish ---- */

static status latency_of(struct migration_run *m, const struct model *model, double *latency_s) {
    const struct comm *world = m->job.session->world;
    status error = SUCCESS;
    *latency_s = 0;
    if (comm_is_root(world))
        error = measure_latency(&m->job.machine, model->ops, model->params, 1, LATENCY_SECONDS, latency_s);
    return comm_agree(world, error);
}

static status publish(struct migration_run *m) {
    char *preprocessing = NULL;
    STATUS_TRY(comm_agree(m->job.session->world, dataset_preprocessing(m->job.data, &preprocessing)));
    free(m->target->preprocessing);
    m->target->preprocessing = preprocessing;
    return migration_publish(m, &(struct job_result){.model = m->target});
}

static status run_phases(struct migration_run *m) {
    const struct config *c = m->job.config;
    const struct comm *world = m->job.session->world;
    migration_phase(m, "compile");
    STATUS_TRY(compile(m));
    STATUS_TRY(job_open_data(&m->job, m->target));
    migration_phase(m, "read source");
    STATUS_TRY(read_model(m, m->compiled->whole, m->source->params));
    if (m->uncut) STATUS_TRY(read_model(m, m->compiled->uncut, m->uncut->params));
    migration_phase(m, "select");
    STATUS_TRY(choose_channels(m));
    migration_phase(m, "migrate");
    STATUS_TRY(migrate_target(m));
    if (c->refit.samples > 0) {
        migration_phase(m, "refit");
        STATUS_TRY(refit_target(m));
    }
    migration_phase(m, "evaluate");
    STATUS_TRY(migration_describe(m));
    if (!is_new_task(m))
        STATUS_TRY(accuracy_of(m, m->source_logits, m->source->params, "source", &m->report.source.accuracy));
    STATUS_TRY(
        accuracy_of(m, m->target_logits, m->target->params, "target after refit", &m->report.refit_accuracy));
    m->report.target.accuracy = m->report.refit_accuracy;
    if (c->training.epochs > 0) {
        migration_phase(m, "fine-tune");
        STATUS_TRY(keep_refitted(m));
        STATUS_TRY(fine_tune(m));
    }
    if (plan_finishes(m->compiled->plan))
        STATUS_TRY(comm_agree(world, finish_params(m->compiled->plan, m->target->params)));
    if (c->training.epochs > 0 || plan_finishes(m->compiled->plan)) {
        migration_phase(m, "final evaluation");
        STATUS_TRY(accuracy_of(m, m->target_logits, m->target->params, "target", &m->report.target.accuracy));
    }
    if (c->training.epochs > 0) warn_if_worse(m);
    STATUS_TRY(latency_of(m, m->source, &m->report.source.latency_s));
    STATUS_TRY(latency_of(m, m->target, &m->report.target.latency_s));
    return publish(m);
}

static status run(const struct session *session, const void *options) {
    const struct options *o = options;
    struct migration_run m = {.plan_path = o->plan};
    if (o->dry_run) return dry_run(session, &o->config, o->plan);
    status error = job_open(session, &o->config, &m.job);
    if (!error) error = migration_streams(m.job.config) ? stream_phases(&m) : run_phases(&m);
    migration_close(&m);
    return job_close(&m.job, error);
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "Carries the source model into a smaller target: compiles a migration program, migrates slice by "
        "slice over the "
        "ranks, refits in closed form, fine-tunes by distillation, evaluates, and publishes the target in "
        "the registry "
        "(or writes the configuration's \"output\"). Without refit and training (refit.samples and "
        "training.epochs "
        "0) it "
        "needs no data set and no memory for the models: they are streamed from file to file.\v"
        "Ends with a table of source against target and the time of each phase. The executed program, "
        "with the chosen "
        "channels and each refit's residual, lies beside the model and in the run folder as plan.txt. "
        "A run that was killed goes on where it was when the same command is started again, on any number of "
        "ranks.",
    .children = (const struct argp_child[]){{&config_argp, 0, NULL, 0}, {0}},
};

const struct command command_migrate = {.name = "migrate",
                                        .summary =
                                            "the main job: source to smaller target, under mpirun or alone",
                                        .parallel = true,
                                        .argp = &argp,
                                        .options_size = sizeof(struct options),
                                        .run = run};

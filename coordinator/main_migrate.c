/* godwit migrate CONFIG: the main job. */
#include "coordinator/command.h"
#include "coordinator/budget.h"
#include "coordinator/freeze.h"
#include "coordinator/main_blocks.h"
#include "coordinator/main_channels.h"
#include "coordinator/main_commands.h"
#include "coordinator/main_dry_run.h"
#include "coordinator/main_job.h"
#include "coordinator/program.h"
#include "coordinator/report.h"

#include "io/digest.h"
#include "io/keras.h"
#include "io/registry.h"
#include "worker/agreement.h"
#include "worker/correspondence.h"
#include "worker/evaluate.h"
#include "worker/finish.h"
#include "worker/migrate.h"
#include "worker/refit.h"
#include "worker/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PHASES_MAX 16
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

/* One migration, as all ranks hold it. */
struct migration_run {
    struct job job;
    const char *plan_path; /* of a program to run; NULL: what the configuration gives */
    char *source_path, *source_digest;
    struct keras_file *file;
    struct graph *source_graph;
    struct compiled *compiled;
    struct model *source; /* batch norms folded */
    struct model *uncut;  /* the target at full width; NULL if that is the source */
    struct model *target;
    struct opgraph *source_logits, *target_logits;
    struct calibration *calibration;
    double latency_limit_s; /* of the target; 0: none */
    struct report report;
    struct report_phase phase[PHASES_MAX];
};

static void next_phase(struct migration_run *m, const char *name) {
    const char *ending = log_current_phase(m->job.session->log);
    double seconds = job_phase(&m->job, name);
    if (m->report.nphases < PHASES_MAX)
        m->phase[m->report.nphases++] = (struct report_phase){ending, seconds};
}

/* ---- compile ---- */

static status locate_source(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    const struct config *c = m->job.config;
    char *path = NULL, *digest = NULL;
    status error = config_require(c, "source");
    if (!error && comm_is_root(world)) error = registry_resolve(c->models, c->source.model, &path);
    if (!error && comm_is_root(world)) error = file_digest(path, &digest);
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, path, &m->source_path);
    if (!error) error = comm_bcast_text(world, 0, digest, &m->source_digest);
    free(path);
    free(digest);
    return error;
}

static status open_source(struct migration_run *m) {
    const struct keras_options keras = config_keras_options(m->job.config);
    return keras_open(m->source_path, &keras, &m->file, &m->source_graph);
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

static status compile_again(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    const struct program_source source = {m->source_graph, m->source_path, m->source_digest};
    compiled_destroy(&m->compiled);
    return comm_agree(world, program_compile(world, m->job.session->log, &source, m->job.config, m->plan_path,
                                             &m->compiled));
}

static status compile(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    STATUS_TRY(locate_source(m));
    STATUS_TRY(comm_agree(world, open_source(m)));
    STATUS_TRY(compile_again(m));
    STATUS_TRY(comm_agree(world, create_models(m)));
    log_line(m->job.session->log, LOG_INFO, "compiled: %d slices, %d statements", m->compiled->plan->nslices,
             m->compiled->plan->nstatements);
    return SUCCESS;
}

/* ---- migrate ---- */

static status execute_plan(struct migration_run *m, const struct plan *plan, bool dynamic,
                           struct params *params) {
    const struct config *c = m->job.config;
    struct partition *partition = NULL;
    STATUS_TRY(comm_agree(m->job.session->world,
                          program_partition(plan, comm_size(m->job.session->world), &partition)));
    struct migration migration = {.file = m->file,
                                  .plan = plan,
                                  .partition = partition,
                                  .chunk_bytes = dynamic ? (int64_t)(c->migration.chunk_mib * 1048576) : 0,
                                  .folder = run_folder_path(m->job.folder)};
    status error = migrate(&m->job.machine, &migration, params);
    partition_destroy(&partition);
    return error;
}

static status refit_model(struct migration_run *m, struct model *model, struct plan *plan,
                          const struct refit_config *config) {
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
                         .plan = plan};
    status error = refit(&m->job.machine, &task);
    free(source_value);
    return error;
}

/* The full-width target, on which channels are measured, has to compute what the source does. */
static status refit_uncut(struct migration_run *m) {
    struct refit_config config = m->job.config->refit;
    config.sweeps = 0;
    return refit_model(m, m->uncut, m->compiled->uncut, &config);
}

static status calibrate(struct migration_run *m) {
    const struct config *c = m->job.config;
    if (m->calibration) return SUCCESS;
    return calibration_create(&m->job.machine, m->job.data, c->refit.samples, (uint64_t)c->seed,
                              &m->calibration);
}

/* Before anything else is made of the target: that makes another one. */
static status leave_out_blocks(struct migration_run *m) {
    STATUS_TRY(calibrate(m));
    const struct blocks_task task = {.machine = &m->job.machine,
                                     .config = &m->job.config->target,
                                     .calibration = m->calibration,
                                     .source = m->source};
    STATUS_TRY(blocks_choose(&task));
    STATUS_TRY(compile_again(m));
    model_destroy(&m->uncut);
    status error = m->compiled->uncut ? create_model(m->compiled->skeleton->graph, &m->uncut) : SUCCESS;
    if (!error) error = create_target(m);
    return comm_agree(m->job.session->world, error);
}

/* Widths first, if there is a budget and the program is not given: that makes another target. */
static status choose_channels(struct migration_run *m) {
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

/* ---- evaluate ---- */

static bool is_new_task(const struct migration_run *m) {
    return m->job.config->target.head > 0;
}

static status accuracy_of(struct migration_run *m, const struct opgraph *logits, struct params *params,
                          const char *what, double *accuracy) {
    struct evaluation e = {0};
    *accuracy = NAN;
    if (!dataset_classes(m->job.data)) return SUCCESS; /* without labels */
    STATUS_TRY(evaluate(&m->job.machine, logits, params, m->job.data, DATASET_TEST, &e));
    if (e.samples) *accuracy = e.accuracy;
    if (e.samples)
        log_line(m->job.session->log, LOG_INFO, "%s: test accuracy %.2f %% (%lld of %lld)", what,
                 100 * e.accuracy, (long long)e.correct, (long long)e.samples);
    LOG_EVENT(m->job.session->log, "test", {"model", 0, what}, {"accuracy", e.accuracy, NULL},
              {"loss", e.loss, NULL});
    return SUCCESS;
}

/* How often the target gives the class that the source gives. */
static status agreement_of(struct migration_run *m, const char *what, double *share) {
    const struct computation source = {m->source_logits, m->source->params},
                             target = {m->target_logits, m->target->params};
    struct agreement a = {0};
    *share = NAN;
    if (is_new_task(m) || shape_sample_count(&m->target_logits->value[m->target_logits->output[0]]) < 2)
        return SUCCESS;
    STATUS_TRY(agreement_measure(&m->job.machine, &source, &target, m->job.data, DATASET_TEST, &a));
    if (!a.samples) return SUCCESS;
    *share = a.share;
    log_line(m->job.session->log, LOG_INFO,
             "%s: the source's class for %.2f %% of the test samples (%lld of %lld)", what, 100 * a.share,
             (long long)a.same, (long long)a.samples);
    LOG_EVENT(m->job.session->log, "agreement", {"model", 0, what}, {"share", a.share, NULL},
              {"error", a.error, NULL});
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

static status fine_tune(struct migration_run *m) {
    const struct config *c = m->job.config;
    struct teacher *teacher = NULL;
    int64_t *thaw = NULL;
    struct training_config training = c->training;
    if (is_new_task(m)) training.loss.distillation = 0; /* the source knows nothing of it */
    if (!dataset_classes(m->job.data) && training.loss.distillation > 0)
        log_line(m->job.session->log, LOG_INFO,
                 "the data has no labels: the source's classes take their place");
    bool augment = c->data.flip || c->data.shift > 0, distil = training.loss.distillation > 0;
    int ranks = comm_size(m->job.session->world);
    int64_t batch = (c->training.batch + ranks - 1) / ranks;
    if (distil)
        STATUS_TRY(teacher_create(&m->job.machine, m->source_logits, m->source->params, m->job.data, !augment,
                                  batch, &teacher));
    status error = comm_agree(m->job.session->world, freeze_parse(&training, m->target->graph, &thaw));
    struct train_task task = {.config = &training,
                              .seed = (uint64_t)c->seed,
                              .data = m->job.data,
                              .augment = augment,
                              .graph = m->target_logits,
                              .params = m->target->params,
                              .thaw = thaw,
                              .teacher = teacher,
                              .checkpoint = m->job.checkpoint,
                              .checkpoint_key = m->job.checkpoint_key};
    struct train_result result;
    if (!error) error = train(&m->job.machine, &task, &result);
    free(thaw);
    teacher_destroy(&teacher);
    return error;
}

/* ---- report and publish ---- */

static status describe(struct migration_run *m, const struct model *model, const struct graph *graph,
                       struct report_model *r) {
    struct graph_counts counts;
    const struct comm *world = m->job.session->world;
    status error = graph_count(graph, &counts);
    r->latency_s = 0;
    if (!error && comm_is_root(world))
        error =
            measure_latency(&m->job.machine, model->ops, model->params, 1, LATENCY_SECONDS, &r->latency_s);
    r->parameters = counts.params;
    r->flops = counts.flops;
    return comm_agree(world, error);
}

static bool is_fast_enough(const struct migration_run *m) {
    return m->report.target.latency_s <= m->latency_limit_s;
}

/* Timings differ from run to run, the last one too from those that chose the widths. A program that was given
 * has the configuration's limit. */
static void report_latency(struct migration_run *m) {
    const struct target_config *c = &m->job.config->target;
    double ratio_s = c->latency_ratio * m->report.source.latency_s;
    if (!(m->latency_limit_s > 0)) {
        m->latency_limit_s = c->latency_ms / 1e3;
        if (ratio_s > 0 && !(m->latency_limit_s > 0 && m->latency_limit_s < ratio_s))
            m->latency_limit_s = ratio_s;
    }
    if (!(m->latency_limit_s > 0) || !comm_is_root(m->job.session->world)) return;
    bool within = is_fast_enough(m);
    log_line(m->job.session->log, within ? LOG_INFO : LOG_WARN,
             "latency of the target: %.4g ms, %s the %.4g ms that are allowed",
             1e3 * m->report.target.latency_s, within ? "within" : "above", 1e3 * m->latency_limit_s);
}

static status publish(struct migration_run *m, char **path) {
    const struct report *r = &m->report;
    const struct comm *world = m->job.session->world;
    char *text = NULL, *preprocessing = NULL;
    status error = plan_print(m->compiled->plan, &text);
    if (!error) error = dataset_preprocessing(m->job.data, &preprocessing);
    if (!error && comm_is_root(world)) error = run_folder_write(m->job.folder, "plan.txt", text);
    error = comm_agree(world, error);
    if (!error) {
        free(m->target->preprocessing);
        m->target->preprocessing = preprocessing;
        preprocessing = NULL;
        struct provenance_metric metrics[] = {{"source_test_accuracy", r->source.accuracy},
                                              {"refit_test_accuracy", r->refit_accuracy},
                                              {"test_accuracy", r->target.accuracy},
                                              {"refit_agreement", r->refit_agreement},
                                              {"agreement", r->agreement},
                                              {"source_parameters", (double)r->source.parameters},
                                              {"parameters", (double)r->target.parameters},
                                              {"source_flops", r->source.flops},
                                              {"flops", r->target.flops},
                                              {"source_latency_s", r->source.latency_s},
                                              {"latency_s", r->target.latency_s},
                                              {"latency_limit_s", m->latency_limit_s},
                                              {"latency_within_limit", is_fast_enough(m)}};
        int nmetrics = (int)(sizeof metrics / sizeof *metrics) - (m->latency_limit_s > 0 ? 0 : 2);
        struct job_result result = {.model = m->target,
                                    .source = m->source_path,
                                    .source_digest = m->source_digest,
                                    .plan = text,
                                    .metric = metrics,
                                    .nmetrics = nmetrics};
        error = job_publish(&m->job, &result, path);
    }
    free(text);
    free(preprocessing);
    return error;
}

static status run_phases(struct migration_run *m) {
    const struct config *c = m->job.config;
    const struct comm *world = m->job.session->world;
    next_phase(m, "compile");
    STATUS_TRY(compile(m));
    STATUS_TRY(job_open_data(&m->job, m->target));
    next_phase(m, "read source");
    STATUS_TRY(execute_plan(m, m->compiled->whole, false, m->source->params));
    if (c->target.blocks_removed > 0 && !m->plan_path) {
        next_phase(m, "residual blocks");
        STATUS_TRY(leave_out_blocks(m));
    }
    if (m->uncut) STATUS_TRY(execute_plan(m, m->compiled->uncut, false, m->uncut->params));
    next_phase(m, "select");
    STATUS_TRY(choose_channels(m));
    next_phase(m, "migrate");
    STATUS_TRY(execute_plan(m, m->compiled->plan, !strcmp(c->migration.mode, "dynamic"), m->target->params));
    if (c->refit.samples > 0) {
        next_phase(m, "refit");
        STATUS_TRY(refit_model(m, m->target, m->compiled->plan, &c->refit));
    }
    next_phase(m, "evaluate");
    m->report.source.accuracy = NAN;
    if (!is_new_task(m))
        STATUS_TRY(accuracy_of(m, m->source_logits, m->source->params, "source", &m->report.source.accuracy));
    STATUS_TRY(
        accuracy_of(m, m->target_logits, m->target->params, "target after refit", &m->report.refit_accuracy));
    STATUS_TRY(agreement_of(m, "target after refit", &m->report.refit_agreement));
    m->report.target.accuracy = m->report.refit_accuracy;
    m->report.agreement = m->report.refit_agreement;
    if (c->training.epochs > 0) {
        next_phase(m, "fine-tune");
        STATUS_TRY(keep_refitted(m));
        STATUS_TRY(fine_tune(m));
    }
    if (plan_finishes(m->compiled->plan)) {
        next_phase(m, "finish");
        const struct finish task = {m->compiled->plan, m->target->ops, m->target->params, m->calibration};
        STATUS_TRY(finish(&m->job.machine, &task));
    }
    if (c->training.epochs > 0 || plan_finishes(m->compiled->plan)) {
        next_phase(m, "final evaluation");
        STATUS_TRY(accuracy_of(m, m->target_logits, m->target->params, "target", &m->report.target.accuracy));
        STATUS_TRY(agreement_of(m, "target", &m->report.agreement));
    }
    if (c->training.epochs > 0) warn_if_worse(m);
    STATUS_TRY(describe(m, m->source, m->source_graph, &m->report.source));
    STATUS_TRY(describe(m, m->target, m->target->graph, &m->report.target));
    report_latency(m);
    next_phase(m, "publish");
    char *path = NULL;
    STATUS_TRY(publish(m, &path));
    next_phase(m, "end");
    if (comm_is_root(world)) {
        m->report.phase = m->phase;
        printf("\n");
        report_print(stdout, &m->report);
        printf("\ntarget: %s\n", path);
    }
    free(path);
    return SUCCESS;
}

static void migration_close(struct migration_run *m) {
    calibration_destroy(&m->calibration);
    opgraph_destroy(&m->source_logits);
    opgraph_destroy(&m->target_logits);
    model_destroy(&m->source);
    model_destroy(&m->uncut);
    model_destroy(&m->target);
    compiled_destroy(&m->compiled);
    graph_destroy(&m->source_graph);
    keras_close(&m->file);
    free(m->source_path);
    free(m->source_digest);
}

static status run(const struct session *session, const void *options) {
    const struct options *o = options;
    struct migration_run m = {.plan_path = o->plan};
    if (o->dry_run) return dry_run(session, &o->config, o->plan);
    status error = job_open(session, &o->config, &m.job);
    if (!error) error = run_phases(&m);
    migration_close(&m);
    return job_close(&m.job, error);
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Carries the source model into a smaller target: compiles a migration program, migrates slice by "
           "slice over the "
           "ranks, refits in closed form, fine-tunes by distillation, evaluates, and publishes the target in "
           "the registry "
           "(or writes the configuration's \"output\").\v"
           "Ends with a table of source against target and the time of each phase. The executed program, "
           "with the chosen "
           "channels and each refit's residual, lies beside the model and in the run folder as plan.txt.",
    .children = (const struct argp_child[]){{&config_argp, 0, NULL, 0}, {0}},
};

const struct command command_migrate = {.name = "migrate",
                                        .summary =
                                            "the main job: source to smaller target, under mpirun or alone",
                                        .parallel = true,
                                        .argp = &argp,
                                        .options_size = sizeof(struct options),
                                        .run = run};

#include "coordinator/main_migration.h"

#include "coordinator/budget.h"
#include "coordinator/program.h"
#include "io/digest.h"
#include "io/registry.h"
#include "shared/interrupt.h"
#include "worker/stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool migration_streams(const struct config *config) {
    bool measures = budget_needs_latency(&config->target) || config->target.blocks_removed > 0 ||
                    config->target.rank_energy > 0;
    return config->refit.samples == 0 && !config_trains(config) && migration_chunk_bytes(config) > 0 &&
           !measures;
}

int64_t migration_chunk_bytes(const struct config *config) {
    return strcmp(config->migration.mode, "dynamic") ? 0 : (int64_t)(config->migration.chunk_mib * 1048576);
}

bool migration_is_new_task(const struct migration_run *m) {
    return m->job.config->target.head > 0;
}

void migration_phase(struct migration_run *m, const char *name) {
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
    if (!error && comm_is_root(world)) error = file_digest_shown(path, m->job.session->log, &digest);
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

status migration_open_source(struct migration_run *m) {
    STATUS_TRY(locate_source(m));
    return comm_agree(m->job.session->world, open_source(m));
}

status migration_compile_again(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    const struct program_source source = {m->source_graph, m->source_path, m->source_digest};
    compiled_destroy(&m->compiled);
    return comm_agree(world, program_compile(world, m->job.session->log, &source, m->job.config, m->plan_path,
                                             &m->compiled));
}

status migration_compile(struct migration_run *m) {
    if (!m->file) STATUS_TRY(migration_open_source(m));
    STATUS_TRY(job_belongs_to(&m->job, m->source_digest));
    STATUS_TRY(migration_compile_again(m));
    log_line(m->job.session->log, LOG_INFO, "compiled: %d slices, %d statements", m->compiled->plan->nslices,
             m->compiled->plan->nstatements);
    return SUCCESS;
}

/* ---- migrate ---- */

status migration_prepare(const struct migration_run *m, const struct plan *plan,
                         struct migration *migration) {
    const struct comm *world = m->job.session->world;
    struct partition *partition = NULL;
    STATUS_TRY(comm_agree(world, program_partition(plan, comm_size(world), &partition)));
    *migration = (struct migration){.file = m->file, .plan = plan, .partition = partition};
    return SUCCESS;
}

void migration_release(struct migration *migration) {
    struct partition *partition = (struct partition *)(uintptr_t)migration->partition;
    partition_destroy(&partition);
    migration->partition = NULL;
}

/* Running the same again would end the same way. */
static bool is_final(status error) {
    return status_code(error) == STATUS_DATA || status_code(error) == STATUS_UNSUPPORTED ||
           status_code(error) == STATUS_INTERNAL;
}

static status program_digest(const struct plan *plan, char **digest) {
    char *text = NULL;
    STATUS_TRY(plan_print(plan, &text));
    status error = bytes_digest(text, strlen(text), digest);
    free(text);
    return error;
}

static status open_target(struct migration_run *m, const struct stream_task *task, int64_t chunk_bytes) {
    const struct comm *world = m->job.session->world;
    char *program = NULL;
    STATUS_TRY(comm_agree(world, program_digest(m->compiled->plan, &program)));
    const struct target_task target = {.path = task->path,
                                       .graph = m->compiled->target,
                                       .preprocessing = task->preprocessing,
                                       .program = program,
                                       .source = m->source_digest,
                                       .values = task->final ? "final" : "start",
                                       .chunk_bytes = chunk_bytes};
    status error = target_file_open(world, m->job.session->log, &target, &m->made);
    free(program);
    return error;
}

status migration_stream(struct migration_run *m, const struct stream_task *task) {
    const struct comm *world = m->job.session->world;
    struct migration migration;
    struct stream_counts counts;
    STATUS_TRY(migration_prepare(m, m->compiled->plan, &migration));
    migration.chunk_bytes = migration_chunk_bytes(m->job.config);
    migration.final = task->final;
    migration.stale = task->stale;
    migration.before = task->before;
    double before = (double)keras_bytes_read(m->file);
    status error = open_target(m, task, migration.chunk_bytes);
    if (!error) error = stream(&m->job.machine, &migration, m->made, &counts);
    if (!error)
        LOG_EVENT(m->job.session->log, "migrated", {"chunks", (double)counts.chunks, NULL},
                  {"resumed", (double)counts.resumed, NULL}, {"damaged", (double)counts.damaged, NULL},
                  {"bytes_read", (double)keras_bytes_read(m->file) - before, NULL},
                  {"evaluate_s", counts.evaluate_s, NULL}, {"write_s", counts.write_s, NULL});
    if (!error && task->params) error = stream_params(&m->job.machine, &migration, m->made, task->params);
    if (is_final(error)) { /* removed first: as long as it is open, no other run takes it up */
        if (comm_is_root(world)) target_file_remove(task->path);
        target_file_close(&m->made);
    }
    migration_release(&migration);
    return error;
}

/* ---- report and publish ---- */

status migration_describe(struct migration_run *m) {
    struct graph_counts source, target;
    status error = graph_count(m->source_graph, &source);
    if (!error) error = graph_count(m->compiled->target, &target);
    STATUS_TRY(comm_agree(m->job.session->world, error));
    m->report.source = (struct report_model){source.params, source.flops, NAN, NAN};
    m->report.target = (struct report_model){target.params, target.flops, NAN, NAN};
    m->report.refit_accuracy = m->report.refit_agreement = m->report.agreement = NAN;
    return SUCCESS;
}

bool migration_is_fast_enough(const struct migration_run *m) {
    return m->report.target.latency_s <= m->latency_limit_s;
}

static status publish(struct migration_run *m, struct job_result *result, char **path) {
    const struct report *r = &m->report;
    const struct comm *world = m->job.session->world;
    char *text = NULL;
    status error = plan_print(m->compiled->plan, &text);
    if (!error && comm_is_root(world)) error = run_folder_write(m->job.folder, "plan.txt", text);
    error = comm_agree(world, error);
    struct provenance_metric metrics[13 + JOB_TRAINED_METRICS] = {
        {"source_test_accuracy", r->source.accuracy},
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
        {"latency_within_limit", migration_is_fast_enough(m)}};
    result->source = m->source_path;
    result->source_digest = m->source_digest;
    result->plan = text;
    result->metric = metrics;
    result->nmetrics = m->latency_limit_s > 0 ? 13 : 11;
    if (m->trained.epochs > 0) {
        job_trained_metrics(&m->trained, metrics + result->nmetrics);
        result->nmetrics += JOB_TRAINED_METRICS;
    }
    if (!error) error = job_publish(&m->job, result, path);
    free(text);
    return error;
}

/* The file has become the model, or was read into memory. Not collective: rank 0. */
static void remove_made(const struct migration_run *m) {
    if (m->made && comm_is_root(m->job.session->world)) target_file_remove(target_file_path(m->made));
}

status migration_publish(struct migration_run *m, struct job_result *result) {
    char *path = NULL;
    migration_phase(m, "publish");
    STATUS_TRY(publish(m, result, &path));
    remove_made(m);
    target_file_close(&m->made);
    migration_phase(m, "end");
    if (comm_is_root(m->job.session->world)) {
        FILE *out = m->out ? m->out : stdout;
        m->report.phase = m->phase;
        fprintf(out, "\n");
        report_print(out, &m->report);
        fprintf(out, "\ntarget: %s\n", path);
        fflush(out);
    }
    free(m->published);
    m->published = path;
    return SUCCESS;
}

status migration_stand_on(const struct migration_run *ground, struct migration_run *m) {
    m->ground = ground;
    m->source_path = ground->source_path;
    m->source_digest = ground->source_digest;
    m->file = ground->file;
    m->source_graph = ground->source_graph;
    m->source = ground->source;
    m->source_logits = ground->source_logits;
    m->job.data = ground->job.data;
    const struct comm *world = m->job.session->world;
    return comm_agree(world, ground->calibration
                                 ? calibration_split(ground->calibration, world, &m->calibration)
                                 : SUCCESS);
}

status migration_check_stop(const struct migration_run *m) {
    bool stop = false;
    if (!m->ground) return SUCCESS;
    STATUS_TRY(comm_any(m->job.session->world, interrupt_requested(), &stop));
    return stop ? status_fail(STATUS_CHECKPOINTED,
                              "stopped by SIGTERM; run the same command again to continue")
                : SUCCESS;
}

/* What is borrowed is not freed. */
static void leave_ground(struct migration_run *m) {
    if (!m->ground) return;
    m->source_path = m->source_digest = NULL;
    m->file = NULL;
    m->source_graph = NULL;
    m->source = NULL;
    m->source_logits = NULL;
    m->job.data = NULL;
    m->ground = NULL;
}

void migration_close(struct migration_run *m) {
    leave_ground(m);
    target_file_close(&m->made);
    calibration_destroy(&m->calibration);
    opgraph_destroy(&m->source_logits);
    opgraph_destroy(&m->target_logits);
    model_destroy(&m->source);
    model_destroy(&m->uncut);
    model_destroy(&m->target);
    compiled_destroy(&m->compiled);
    graph_destroy(&m->source_graph);
    keras_close(&m->file);
    params_destroy(&m->base);
    free(m->source_path);
    free(m->source_digest);
    free(m->published);
    m->source_path = m->source_digest = m->published = NULL;
    m->report = (struct report){0};
}

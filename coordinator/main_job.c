#include "coordinator/main_job.h"
#include "coordinator/trace_report.h"

#include "io/digest.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "io/golden.h"
#include "io/libraries.h"
#include "io/registry.h"
#include "io/trace_file.h"
#include "worker/infer.h"
#include "worker/libraries.h"
#include "worker/tune.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN_SAMPLES 4
#define SMALL_BYTES 4096 /* of what ranks wait for rather than move */

/* Can what job_publish writes be written? Better asked before the work than after it. Not collective: rank 0.
 */
static status check_output(const struct config *c) {
    if (c->output[0]) {
        char *temporary = NULL;
        STATUS_TRY(file_temporary(c->output, &temporary));
        file_abandon(temporary);
        free(temporary);
        return SUCCESS;
    }
    struct registry_staging *staging = NULL;
    STATUS_TRY(registry_stage(c->models, c->name, &staging));
    registry_abandon(&staging);
    return SUCCESS;
}

/* <runs>/<name>.checkpoint, which belongs to this configuration. */
static status name_checkpoint(struct job *job) {
    const struct config *c = job->config;
    if (asprintf(&job->blockwise_checkpoint, "%s/%s.blockwise.checkpoint", c->runs, c->name) < 0)
        return status_no_memory("a path", strlen(c->runs));
    if (asprintf(&job->checkpoint, "%s/%s.checkpoint", c->runs, c->name) < 0)
        return status_no_memory("a path", strlen(c->runs));
    if (asprintf(&job->tuning, "%s.tuning", job->checkpoint) < 0)
        return status_no_memory("a path", strlen(c->runs));
    return bytes_digest(job->config_json, strlen(job->config_json), &job->checkpoint_key);
}

status job_open(const struct session *session, const struct config_arguments *arguments, struct job *job) {
    struct config *config = NULL;
    *job = (struct job){.session = session};
    STATUS_TRY(config_load(session->world, arguments, &config));
    return job_begin(session, config, job);
}

/* What ranks do together, into the trace. */
static void see(void *context, const char *operation, size_t nbytes, double begin, double end) {
    trace_add(context, nbytes < SMALL_BYTES ? TRACE_WAIT : TRACE_COMMUNICATION, operation, -1, -1, begin,
              end);
}

static status begin(const struct session *session, struct config *c, bool publishes, struct job *job) {
    *job = (struct job){.session = session, .config = c, .start = comm_time(), .phase_start = comm_time()};
    log_phase(session->log, "prepare");
    comm_phase(session->world, "prepare");
    comm_watchdog(session->world, (double)c->watchdog_s);
    job->machine = (struct machine){.world = session->world,
                                    .node = session->node,
                                    .log = session->log,
                                    .threads = session_threads(session, c->threads)};
    status error = config_require(c, "name");
    if (!error) error = engine_find(c->engine, &job->machine.engine);
    if (!error) error = config_print(c, &job->config_json);
    if (!error) error = name_checkpoint(job);
    if (!error) error = trace_create(c->trace, &job->machine.trace);
    if (!error && publishes && comm_is_root(session->world)) error = check_output(c);
    STATUS_TRY(comm_agree(session->world, error));
    STATUS_TRY(
        run_folder_create(c->runs, c->name, job->config_json, session->world, session->log, &job->folder));
    comm_observe(session->world, see, job->machine.trace);
    log_line(session->log, LOG_INFO, "%d rank%s x %d thread%s, engine %s, run folder %s",
             comm_size(session->world), comm_size(session->world) == 1 ? "" : "s", job->machine.threads,
             job->machine.threads == 1 ? "" : "s", job->machine.engine->name, run_folder_path(job->folder));
    LOG_EVENT(session->log, "start", {"ranks", comm_size(session->world), NULL},
              {"threads", job->machine.threads, NULL}, {"engine", 0, job->machine.engine->name},
              {"command", 0, session->command_line});
    return SUCCESS;
}

status job_begin(const struct session *session, struct config *c, struct job *job) {
    return begin(session, c, true, job);
}

status job_begin_several(const struct session *session, struct config *c, struct job *job) {
    return begin(session, c, false, job);
}

status job_belongs_to(struct job *job, const char *source_digest) {
    char *text = NULL, *key = NULL;
    int length = asprintf(&text, "%s\n%s", job->config_json, source_digest);
    status error = length < 0 ? status_no_memory("a key", strlen(job->config_json)) : SUCCESS;
    if (!error) error = bytes_digest(text, (size_t)length, &key);
    if (length >= 0) free(text);
    STATUS_TRY(comm_agree(job->session->world, error));
    free(job->checkpoint_key);
    job->checkpoint_key = key;
    return SUCCESS;
}

bool job_tunes_augmentation(const struct config *c) {
    return !strcmp(c->data.augment, "auto") && !c->data.flip && c->data.shift == 0;
}

/* Is there anything that is decided on a hold-out part? */
static bool leaves_anything(const struct config *c) {
    const struct training_config *t = &c->training;
    return t->epochs < 0 ||
           (config_trains(c) && (t->average < 0 || tune_is_needed(t, job_tunes_augmentation(c))));
}

status job_open_data(struct job *job, const struct model *model) {
    struct shape input = {0};
    int64_t classes = 0;
    status error = config_require(job->config, "data.path");
    if (!error) error = model_input(model, &input);
    if (!error) error = model_classes(model, &classes);
    STATUS_TRY(comm_agree(job->session->world, error));
    return job_open_samples(job, &input, classes);
}

status job_check_data(const struct job *job, const struct model *model) {
    int64_t classes = 0;
    status error = model_classes(model, &classes);
    if (!error) error = dataset_require_classes(job->data, classes);
    return comm_agree(job->session->world, error);
}

status job_open_samples(struct job *job, const struct shape *input, int64_t classes) {
    struct data_config config = job->config->data;
    if (config.holdout < 0 && !leaves_anything(job->config)) config.holdout = 0;
    status error =
        dataset_open(&config, input, classes, (uint64_t)job->config->seed, job->session->node, &job->data);
    if (!error && dataset_size(job->data, DATASET_TRAIN) == 0)
        error =
            status_fail(STATUS_DATA, "\"%s\" has no training samples; give its training part (data.x_train)",
                        job->config->data.path);
    return comm_agree(job->session->world, error);
}

static void end_phase(const struct job *job, double now) {
    trace_add(job->machine.trace, TRACE_COMPUTE, log_current_phase(job->session->log), -1, -1,
              job->phase_start, now);
}

static status join_path(const char *folder, const char *file, char **path) {
    return asprintf(path, "%s/%s", folder, file) < 0 ? status_no_memory("a path", strlen(folder)) : SUCCESS;
}

/* Every rank's share into the run folder's events, and what is wanted of all of it. Collective. */
static status close_trace(const struct job *job) {
    const struct comm *world = job->session->world;
    struct trace *trace = job->machine.trace;
    comm_observe(world, NULL, trace);
    end_phase(job, comm_time());
    struct trace_totals mine = trace_totals(trace);
    LOG_EVENT(job->session->log, "time", {"compute_s", mine.compute, NULL}, {"wait_s", mine.wait, NULL},
              {"communication_s", mine.communication, NULL});
    if (!job->config->trace) return SUCCESS;
    char *path = NULL;
    struct trace_totals *all = calloc((size_t)comm_size(world), sizeof *all);
    status error = all ? join_path(run_folder_path(job->folder), "trace.json", &path)
                       : status_no_memory("a report", sizeof *all);
    error = comm_agree(world, error);
    if (!error) error = trace_file_write(world, trace, path);
    if (!error) error = trace_report_gather(world, &mine, all);
    if (!error && comm_is_root(world)) {
        printf("\n");
        trace_report_print(stdout, comm_size(world), all);
        printf("\ntrace: %s\n", path);
    }
    free(path);
    free(all);
    return error;
}

status job_close(struct job *job, status error) {
    dataset_close(&job->data);
    if (error && job->session->log)
        LOG_EVENT(job->session->log, "error", {"message", 0, status_message(error)},
                  {"code", status_exit_code(status_code(error)), NULL});
    if (job->folder) error = status_first(error, close_trace(job));
    trace_destroy(&job->machine.trace);
    error = status_first(error, run_folder_close(&job->folder));
    config_destroy(&job->config);
    free(job->config_json);
    free(job->checkpoint);
    free(job->blockwise_checkpoint);
    free(job->checkpoint_key);
    free(job->tuning);
    return error;
}

double job_phase(struct job *job, const char *phase) {
    struct log *log = job->session->log;
    double now = comm_time(), seconds = now - job->phase_start;
    end_phase(job, now);
    LOG_EVENT(log, "phase_end", {"seconds", seconds, NULL});
    log_phase(log, phase);
    comm_phase(job->session->world, phase);
    LOG_EVENT(log, "phase_begin", {"at", now - job->start, NULL});
    job->phase_start = now;
    return seconds;
}

/* A few samples of the data set, far apart, and what the portable engine computes of them. */
static status write_golden(const struct job *job, const struct model *model, const char *path) {
    enum dataset_part part = dataset_size(job->data, DATASET_TEST) ? DATASET_TEST : DATASET_TRAIN;
    int64_t size = dataset_size(job->data, part), n = size < GOLDEN_SAMPLES ? size : GOLDEN_SAMPLES;
    int64_t index[GOLDEN_SAMPLES];
    for (int64_t i = 0; i < n; i++) index[i] = i * size / n;
    struct machine machine = job->machine;
    struct golden *golden = NULL;
    STATUS_TRY(engine_find("openblas", &machine.engine));
    STATUS_TRY(golden_create(model->graph, n, &golden));
    struct batch_request request = {.part = part, .index = index, .n = n};
    status error = dataset_read(job->data, &request, tensor_f32(golden->x[0]), NULL);
    if (!error) error = infer(&machine, model, n, golden->x, golden->y);
    if (!error) error = golden_write(path, golden, "godwit " GODWIT_VERSION ", engine openblas");
    golden_destroy(&golden);
    return error;
}

/* model.json beside the model. */
static status write_provenance(const struct job *job, const struct job_result *result, const char *model_path,
                               const char *golden_path, const char *path) {
    char io_text[LIBRARIES_TEXT_MAX], worker_text[LIBRARIES_TEXT_MAX], libraries[2 * LIBRARIES_TEXT_MAX + 4];
    snprintf(libraries, sizeof libraries, "%s, %s", io_libraries(io_text), worker_libraries(worker_text));
    char *digest = NULL, *golden_digest = NULL;
    STATUS_TRY(file_digest_shown(model_path, job->session->log, &digest));
    status error = job->data ? file_digest(golden_path, &golden_digest) : SUCCESS;
    struct provenance p = {.name = job->config->name,
                           .source = result->source,
                           .source_digest = result->source_digest,
                           .model_digest = digest,
                           .golden_digest = golden_digest,
                           .command_line = job->session->command_line,
                           .config_json = job->config_json,
                           .libraries = libraries,
                           .engine = job->machine.engine->name,
                           .seed = (uint64_t)job->config->seed,
                           .ranks = comm_size(job->session->world),
                           .threads = job->machine.threads,
                           .nmetrics = result->nmetrics,
                           .metric = result->metric};
    if (!error) error = provenance_write(path, &p);
    free(digest);
    free(golden_digest);
    return error;
}

/* What is to be the model gets another name, and keeps its own where the file system can do that, until it is
 * published for good. */
static status name_model(const char *file, const char *path) {
    if (link(file, path) == 0 || rename(file, path) == 0) return SUCCESS;
    return file_fail("create", path, errno);
}

/* All files of a version into `folder`. */
static status write_version(const struct job *job, const struct job_result *result, const char *folder) {
    char *model = NULL, *golden = NULL, *json = NULL, *plan = NULL;
    status error = join_path(folder, "model.h5", &model);
    if (!error) error = join_path(folder, "golden.h5", &golden);
    if (!error) error = join_path(folder, "model.json", &json);
    if (!error) error = join_path(folder, "plan.txt", &plan);
    if (!error && result->model) error = model_write(model, result->model);
    if (!error && job->data) error = write_golden(job, result->model, golden);
    if (!error) error = write_provenance(job, result, result->file ? result->file : model, golden, json);
    if (!error && result->plan) error = file_write_atomic(plan, result->plan, strlen(result->plan));
    if (!error && result->file) error = name_model(result->file, model);
    free(model);
    free(golden);
    free(json);
    free(plan);
    return error;
}

static status publish(const struct job *job, const struct job_result *result, char **path) {
    const struct config *c = job->config;
    if (c->output[0]) {
        *path = strdup(c->output);
        if (!*path) return status_no_memory("a path", strlen(c->output));
        return result->file ? file_commit(result->file, c->output) : model_write(c->output, result->model);
    }
    struct registry_staging *staging = NULL;
    char *folder = NULL;
    STATUS_TRY(registry_stage(c->models, c->name, &staging));
    status error = write_version(job, result, registry_staging_folder(staging));
    if (!error) error = registry_publish(&staging, &folder);
    registry_abandon(&staging);
    if (!error) error = join_path(folder, "model.h5", path);
    free(folder);
    return error;
}

status job_publish(struct job *job, const struct job_result *result, char **path) {
    const struct comm *world = job->session->world;
    char *mine = NULL;
    status error = comm_agree(world, comm_is_root(world) ? publish(job, result, &mine) : SUCCESS);
    if (!error) error = comm_bcast_text(world, 0, mine, path);
    if (!error && comm_is_root(world)) {
        checkpoint_remove(job->checkpoint);
        checkpoint_remove(job->blockwise_checkpoint);
        checkpoint_remove(job->tuning);
    }
    free(mine);
    return error;
}

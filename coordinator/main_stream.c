/* A migration without models in memory: from the source's file straight to the target's. */
#include "coordinator/main_channels.h"
#include "coordinator/main_phases.h"
#include "coordinator/main_stream.h"

#include "io/registry.h"
#include "shared/dependence.h"
#include "worker/finish_statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- select ---- */

/* The graph that channels are chosen in, lowered, without its weights. */
static status outline(const struct migration_run *m, struct model **full) {
    const struct compiled *c = m->compiled;
    struct graph *copy = NULL;
    STATUS_TRY(graph_clone(c->uncut ? c->skeleton->graph : c->fold->graph, &copy));
    return model_outline(copy, full);
}

status stream_choose_channels(struct migration_run *m) {
    struct model *full = NULL;
    struct migration program;
    STATUS_TRY(comm_agree(m->job.session->world, outline(m, &full)));
    status error =
        migration_prepare(m, m->compiled->uncut ? m->compiled->uncut : m->compiled->whole, &program);
    if (!error) {
        program.chunk_bytes = migration_chunk_bytes(m->job.config);
        const struct channels_task task = {.machine = &m->job.machine,
                                           .config = m->job.config,
                                           .full = full,
                                           .program = &program,
                                           .compiled = m->compiled};
        error = channels_choose(&task);
        migration_release(&program);
    }
    model_destroy(&full);
    return error;
}

/* ---- migrate ---- */

/* The file is made beside what it will be: it only has to get its name then. */
static status name_file(const struct config *c, char **path) {
    char *folder = NULL;
    if (!c->output[0]) {
        STATUS_TRY(registry_folder(c->models, c->name, &folder));
        int length = asprintf(path, "%s/.model.h5.migration", folder);
        free(folder);
        return length < 0 ? status_no_memory("a path", 0) : SUCCESS;
    }
    const char *slash = strrchr(c->output, '/'), *base = slash ? slash + 1 : c->output;
    return asprintf(path, "%.*s.%s.migration", (int)(base - c->output), c->output, base) < 0
               ? status_no_memory("a path", strlen(c->output))
               : SUCCESS;
}

static status agree_on_file(const struct migration_run *m, char **path) {
    const struct comm *world = m->job.session->world;
    char *mine = NULL;
    status error = comm_agree(world, comm_is_root(world) ? name_file(m->job.config, &mine) : SUCCESS);
    if (!error) error = comm_bcast_text(world, 0, mine, path);
    free(mine);
    return error;
}

/* What turns images into inputs stays as it was, but for another task. */
static status stream_target(struct migration_run *m, const bool *stale,
                            const struct migrated_before *before) {
    char *path = NULL, *preprocessing = NULL;
    bool same_task = m->job.config->target.head == 0;
    status error = same_task ? keras_read_preprocessing(m->file, &preprocessing) : SUCCESS;
    error = comm_agree(m->job.session->world, error);
    if (!error) error = agree_on_file(m, &path);
    if (!error)
        error = migration_stream(m, &(struct stream_task){.path = path,
                                                          .preprocessing = preprocessing,
                                                          .final = true,
                                                          .stale = stale,
                                                          .before = before});
    if (error && !m->job.config->output[0]) registry_tidy(m->job.config->models, m->job.config->name);
    free(preprocessing);
    free(path);
    return error;
}

/* Rank 0 opens what was made, as any reader does: its structure was written long before its values. */
static status check_target(const struct migration_run *m) {
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    status error = comm_is_root(m->job.session->world)
                       ? keras_open(target_file_path(m->made), NULL, &file, &graph)
                       : SUCCESS;
    keras_close(&file);
    graph_destroy(&graph);
    return comm_agree(m->job.session->world, error);
}

status stream_show_memory(const struct migration_run *m) {
    struct rusage usage;
    double peak = getrusage(RUSAGE_SELF, &usage) ? 0 : (double)usage.ru_maxrss / 1024;
    STATUS_TRY(comm_max_f64(m->job.session->world, &peak, 1));
    log_line(m->job.session->log, LOG_INFO, "most memory of a rank: %.0f MiB", peak);
    LOG_EVENT(m->job.session->log, "memory", {"peak_mib", peak, NULL});
    return SUCCESS;
}

/* There are no samples to round by. */
static void say_nearest(const struct migration_run *m) {
    int n = 0;
    for (int i = 0; i < m->compiled->plan->nstatements; i++)
        n += finish_gptq_of(&m->compiled->plan->statement[i]) != NULL;
    if (n)
        log_line(
            m->job.session->log, LOG_INFO,
            "there are no calibration samples (refit.samples): %d kernels are rounded to the nearest instead "
            "of by gptq",
            n);
}

/* What follows the file. */
static status finish_stream(struct migration_run *m) {
    STATUS_TRY(check_target(m));
    say_nearest(m);
    STATUS_TRY(stream_show_memory(m));
    return migration_describe(m);
}

status stream_deliver(struct migration_run *m) {
    return migration_publish(m, &(struct job_result){.file = target_file_path(m->made)});
}

status stream_phases(struct migration_run *m) {
    log_line(
        m->job.session->log, LOG_INFO,
        "no refit and no training: the target is streamed from file to file; evaluation and golden outputs "
        "are left out (migration.mode=static has them)");
    migration_phase(m, "compile");
    STATUS_TRY(migration_compile(m));
    migration_phase(m, "select");
    STATUS_TRY(stream_choose_channels(m));
    STATUS_TRY(migration_check_stop(m));
    migration_phase(m, "migrate");
    STATUS_TRY(stream_target(m, NULL, NULL));
    return finish_stream(m);
}

status stream_update(struct migration_run *m, const bool *changed) {
    const struct comm *world = m->job.session->world;
    int n = m->compiled->plan->nstatements, migrated = 0;
    bool *stale = calloc((size_t)n + 1, sizeof *stale);
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    status error =
        stale ? keras_open(m->published, NULL, &file, &graph) : status_no_memory("an update", (size_t)n);
    error = comm_agree(world, error);
    migration_phase(m, "migrate");
    if (!error) {
        dependence_statements(m->compiled->plan, changed, stale);
        for (int i = 0; i < n; i++) migrated += stale[i];
        log_line(m->job.session->log, LOG_INFO, "of %d statements %d are migrated again, the others copied",
                 n, migrated);
        error = stream_target(m, stale, &(struct migrated_before){file, graph});
    }
    keras_close(&file);
    graph_destroy(&graph);
    free(stale);
    return error ? error : finish_stream(m);
}

#include "coordinator/main_follow.h"

#include "coordinator/main_phases.h"
#include "io/digest.h"
#include "io/source_watch.h"
#include "shared/interrupt.h"
#include "worker/source_digests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct follower {
    struct migration_run *run;
    const struct follow_options *options;
    struct source_watch *watch;    /* rank 0; else NULL */
    enum source_state said;        /* what was said last */
    char *path;                    /* owned: where the source is that was taken */
    char *copy;                    /* owned: what was taken, on every rank */
    struct source_digests digests; /* of the source that the run holds */
    bool readable;                 /* what was taken last is a model, all of which can be read */
    bool begun;                    /* the run holds a source that a target was made of */
};

static const struct comm *world_of(const struct follower *f) {
    return f->run->job.session->world;
}

/* ---- waiting ---- */

static void say(struct follower *f, enum source_state state) {
    struct log *log = f->run->job.session->log;
    const char *model = f->run->job.config->source.model;
    if (state == f->said) return;
    f->said = state;
    if (state == SOURCE_MISSING) log_line(log, LOG_INFO, "waiting for %s: there is none yet", model);
    if (state == SOURCE_MOVING) log_line(log, LOG_INFO, "%s has changed; waiting until it is whole", model);
    if (state == SOURCE_SAME) log_line(log, LOG_INFO, "waiting for another %s", model);
}

/* The copy has the source's ending, by which its format is told. */
static status name_copy(const struct follower *f, const char *path, char **copy) {
    const struct config *c = f->run->job.config;
    const char *slash = strrchr(path, '/'), *ending = strrchr(slash ? slash : path, '.');
    return asprintf(copy, "%s/%s.source%s", c->runs, c->name, ending ? ending : "") < 0
               ? status_no_memory("a path", strlen(path))
               : SUCCESS;
}

/* Rank 0: looks, and takes what is settled; *path and *copy (owned) stay NULL if nothing was taken. */
static status look(struct follower *f, char **path, char **copy) {
    enum source_state state;
    bool whole = false;
    STATUS_TRY(source_watch_look(f->watch, &state));
    if (state != SOURCE_SETTLED) {
        say(f, state);
        return SUCCESS;
    }
    STATUS_TRY(name_copy(f, source_watch_path(f->watch), copy));
    status error = source_watch_take(f->watch, *copy, path, &whole);
    if (!error && whole) return SUCCESS;
    free(*path);
    free(*copy);
    *path = *copy = NULL;
    return error;
}

static void rest(const struct machine *machine, double seconds) {
    double begin = comm_time(), left;
    while (!interrupt_requested() && (left = begin + seconds - comm_time()) > 0) {
        struct timespec time = {.tv_sec = left < 1 ? 0 : 1, .tv_nsec = left < 1 ? (long)(1e9 * left) : 0};
        nanosleep(&time, NULL);
        comm_alive(machine->world); /* another one may have been asked to stop */
    }
    machine_span(machine, TRACE_WAIT, "rest", -1, -1, begin);
}

/* Until a source has been taken; *stop: SIGTERM came first. */
static status wait_for_source(struct follower *f, bool *stop) {
    const struct comm *world = world_of(f);
    bool taken = false;
    f->said = SOURCE_SETTLED;
    while (!taken) {
        char *path = NULL, *copy = NULL;
        status error = comm_agree(world, f->watch ? look(f, &path, &copy) : SUCCESS);
        if (!error) error = comm_any(world, path != NULL, &taken);
        if (!error) error = comm_any(world, interrupt_requested(), stop);
        if (!error && taken) {
            free(f->path);
            free(f->copy);
            f->path = f->copy = NULL;
            error = comm_bcast_text(world, 0, path, &f->path);
            if (!error) error = comm_bcast_text(world, 0, copy, &f->copy);
        }
        free(path);
        free(copy);
        STATUS_TRY(error);
        if (*stop) return SUCCESS;
        if (!taken) rest(&f->run->job.machine, f->options->every);
    }
    return SUCCESS;
}

/* ---- a version ---- */

static status open_copy(const struct follower *f, struct keras_file **file, struct graph **graph,
                        char **digest) {
    const struct keras_options keras = config_keras_options(f->run->job.config);
    char *mine = NULL;
    status error = keras_open(f->copy, &keras, file, graph);
    if (!error && comm_is_root(world_of(f))) error = file_digest(f->copy, &mine);
    error = comm_agree(world_of(f), error);
    if (!error) error = comm_bcast_text(world_of(f), 0, mine, digest);
    free(mine);
    return error;
}

static status same_graph(const struct graph *a, const struct graph *b, bool *same) {
    char *x = NULL, *y = NULL;
    status error = keras_graph_to_json(a, &x);
    if (!error) error = keras_graph_to_json(b, &y);
    *same = !error && !strcmp(x, y);
    free(x);
    free(y);
    return error;
}

/* The new source in the place of the old one. The graphs are equal, so that the old one, which programs
 * refer to, stays. */
static status exchange(struct follower *f, struct keras_file **file, char **digest) {
    struct migration_run *m = f->run;
    struct plan *const plans[] = {m->compiled->plan, m->compiled->whole, m->compiled->uncut};
    keras_close(&m->file);
    m->file = *file;
    free(m->source_digest);
    m->source_digest = *digest;
    *file = NULL;
    *digest = NULL;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        if (plans[i]) STATUS_TRY(plan_set_source(plans[i], f->path, m->source_digest));
    char *path = strdup(f->path);
    if (!path) return status_no_memory("a path", strlen(f->path));
    free(m->source_path);
    m->source_path = path;
    return SUCCESS;
}

/* A target of a source of which nothing is known yet. */
static status begin(struct follower *f, struct keras_file **file, struct graph **graph, char **digest) {
    struct migration_run *m = f->run;
    migration_close(m);
    dataset_close(&m->job.data); /* what is read of it depends on the model's input and classes */
    source_digests_free(&f->digests);
    f->begun = false;
    m->file = *file;
    m->source_graph = *graph;
    m->source_digest = *digest;
    m->source_path = strdup(f->path);
    *file = NULL;
    *graph = NULL;
    *digest = NULL;
    STATUS_TRY(
        comm_agree(world_of(f), m->source_path ? SUCCESS : status_no_memory("a path", strlen(f->path))));
    STATUS_TRY(source_digests_create(&m->job.machine, m->file, m->source_graph, &f->digests));
    f->readable = true;
    STATUS_TRY(run_phases(m));
    f->begun = true;
    return SUCCESS;
}

/* Which tensors have changed. */
static status compare(const struct follower *f, const struct source_digests *now, bool **changed, int *n) {
    *changed = calloc((size_t)now->n + 1, sizeof **changed);
    *n = 0;
    if (!*changed) return status_no_memory("changes", (size_t)now->n);
    for (int p = 0; p < now->n; p++) {
        (*changed)[p] = strcmp(now->text[p], f->digests.text[p]) != 0;
        *n += (*changed)[p];
    }
    return SUCCESS;
}

static status update(struct follower *f, struct keras_file **file, char **digest, bool *made) {
    struct migration_run *m = f->run;
    struct source_digests now = {0};
    bool *changed = NULL;
    int n = 0;
    status error = source_digests_create(&m->job.machine, *file, m->source_graph, &now);
    f->readable = !error;
    if (!error) error = comm_agree(world_of(f), compare(f, &now, &changed, &n));
    if (!error)
        log_line(m->job.session->log, LOG_INFO, "%s: %d of %d tensors have changed%s", f->path, n, now.n,
                 n ? "" : ": nothing to do");
    *made = n > 0;
    if (!error && n > 0) {
        f->begun = false; /* until it is whole again */
        source_digests_free(&f->digests);
        f->digests = now;
        now = (struct source_digests){0};
        error = comm_agree(world_of(f), exchange(f, file, digest));
        if (!error) error = job_belongs_to(&m->job, m->source_digest);
        if (!error) error = run_update(m, changed);
        f->begun = !error;
    }
    source_digests_free(&now);
    free(changed);
    return error;
}

static status make_version(struct follower *f, bool *made) {
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    char *digest = NULL;
    bool same = false;
    status error = open_copy(f, &file, &graph, &digest);
    *made = true;
    f->readable = false;
    if (!error && f->begun) error = comm_agree(world_of(f), same_graph(graph, f->run->source_graph, &same));
    if (!error && f->begun && !same)
        log_line(f->run->job.session->log, LOG_INFO, "%s has another topology: it is migrated anew", f->path);
    if (!error) error = f->begun && same ? update(f, &file, &digest, made) : begin(f, &file, &graph, &digest);
    keras_close(&file);
    graph_destroy(&graph);
    free(digest);
    return error;
}

/* A source that is no good: another one may be. Where nothing has been made yet, an error after it was read
 * is more likely to be the configuration's or the data set's, which waiting does not mend. */
static bool is_of_source(const struct follower *f, long made, status error) {
    bool bad = status_code(error) == STATUS_DATA || status_code(error) == STATUS_UNSUPPORTED;
    return bad && (made > 0 || !f->readable);
}

static status make_versions(struct follower *f) {
    struct log *log = f->run->job.session->log;
    for (long n = 0; !f->options->versions || n < f->options->versions;) {
        bool stop = false, made = false;
        migration_phase(f->run, "wait");
        STATUS_TRY(wait_for_source(f, &stop));
        if (stop) {
            log_line(log, LOG_INFO, "stopped by SIGTERM after %ld target%s", n, n == 1 ? "" : "s");
            return SUCCESS;
        }
        f->run->report.nphases = 0;
        status error = make_version(f, &made);
        if (is_of_source(f, n, error)) {
            if (comm_is_root(world_of(f)))
                log_line(log, LOG_WARN, "%s is left out: %s", f->path, status_message(error));
            status_drop(&error);
            made = false;
        }
        STATUS_TRY(error);
        n += made;
    }
    return SUCCESS;
}

status follow(struct migration_run *m, const struct follow_options *options) {
    const struct config *c = m->job.config;
    const struct comm *world = m->job.session->world;
    struct follower f = {.run = m, .options = options};
    status error = config_require(c, "source");
    if (!error && comm_is_root(world)) error = source_watch_create(c->models, c->source.model, &f.watch);
    error = comm_agree(world, error);
    m->followed = true;
    interrupt_catch();
    if (!error) error = make_versions(&f);
    interrupt_release();
    if (comm_is_root(world) && f.copy) unlink(f.copy);
    source_watch_destroy(&f.watch);
    source_digests_free(&f.digests);
    free(f.path);
    free(f.copy);
    return error;
}

#include "coordinator/main_targets.h"

#include "coordinator/budget.h"
#include "coordinator/choice.h"
#include "coordinator/main_choice.h"
#include "coordinator/main_wave.h"
#include "coordinator/schedule.h"
#include "io/provenance.h"
#include "shared/interrupt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static status check(const struct config *c) {
    if (c->output[0])
        return status_fail(
            STATUS_USAGE,
            "\"output\" is one file, and there are several targets; leave it out, so that they go into "
            "the registry, or choose one with --target");
    for (int i = 0; i < c->ntargets && choice_is_wanted(&c->choose); i++) {
        size_t length = strcspn(c->targets[i], "\n");
        if (strlen(c->name) == length && !strncmp(c->name, c->targets[i], length))
            return status_fail(
                STATUS_USAGE,
                "\"name\" is \"%s\", under which the chosen target is published, and one of the "
                "targets has that name too; give one of them another",
                c->name);
    }
    return SUCCESS;
}

/* ---- what is known of a target before it is made ---- */

/* Not collective. Of a target that cannot be compiled nothing is foretold: its group will say why. */
static double foretell(const struct migration_run *g, const struct config *one) {
    struct compiled *compiled = NULL;
    struct graph_counts source, target;
    double cost = 0;
    status error =
        compile_target(g->source_graph, g->source_path, g->source_digest, &one->target, one->name, &compiled);
    if (!error) error = graph_count(g->source_graph, &source);
    if (!error) error = graph_count(compiled->target, &target);
    if (!error) {
        bool counted = source.flops > 0 && target.flops > 0;
        double samples = g->job.data ? (double)dataset_size(g->job.data, DATASET_TRAIN) : 0;
        cost = schedule_operations(one, samples, counted ? source.flops : (double)source.params,
                                   counted ? target.flops : (double)target.params);
        if (!(cost > 0)) cost = (double)target.params; /* streamed */
    }
    compiled_destroy(&compiled);
    status_drop(&error);
    return cost;
}

/* Rank 0 foretells, so that all have the same. */
static status foretell_all(const struct migration_run *g, int n, struct made *made) {
    const struct comm *world = g->job.session->world;
    const struct config *c = g->job.config;
    status error = SUCCESS;
    for (int i = 0; i < n && !error && comm_is_root(world); i++) {
        struct config *one = NULL;
        error = config_of_target(c, i, &one);
        if (!error) made[i].cost = foretell(g, one);
        config_destroy(&one);
    }
    STATUS_TRY(comm_agree(world, error));
    for (int i = 0; i < n; i++) STATUS_TRY(comm_bcast(world, 0, &made[i].cost, sizeof made[i].cost));
    return SUCCESS;
}

static status name_targets(const struct config *c, struct made *made) {
    for (int i = 0; i < c->ntargets; i++) {
        made[i].name = strndup(c->targets[i], strcspn(c->targets[i], "\n"));
        if (!made[i].name) return status_no_memory("a name", strlen(c->targets[i]));
    }
    return SUCCESS;
}

/* What those that are to be made need of the ground: *loads, the models in memory; *labelled, the source's
 * accuracy. */
static status find_needs(const struct config *c, struct made *made, bool *loads, bool *labelled) {
    *loads = *labelled = false;
    for (int i = 0; i < c->ntargets; i++) {
        struct config *one = NULL;
        if (made[i].published) continue;
        STATUS_TRY(config_of_target(c, i, &one));
        made[i].measures = budget_needs_latency(&one->target);
        *loads = *loads || !migration_streams(one);
        *labelled = *labelled || one->target.head == 0;
        config_destroy(&one);
    }
    return SUCCESS;
}

/* ---- the tally ---- */

static int64_t count_of(double value) {
    return value > 0 ? (int64_t)value : 0;
}

/* The figures of a target that an earlier run has published. */
static status read_figures(const char *model, struct report *r) {
    static const char *const names[] = {
        "test_accuracy",     "agreement",    "parameters",           "flops",           "latency_s",
        "source_parameters", "source_flops", "source_test_accuracy", "source_latency_s"};
    double v[sizeof names / sizeof *names];
    char *path = NULL;
    if (asprintf(&path, "%.*sjson", (int)(strlen(model) - strlen("h5")), model) < 0)
        return status_no_memory("a path", strlen(model));
    status error = provenance_figures(path, (int)(sizeof names / sizeof *names), names, v);
    free(path);
    if (error) return error;
    *r = (struct report){.source = {count_of(v[5]), v[6], v[7], v[8]},
                         .target = {count_of(v[2]), v[3], v[0], v[4]},
                         .agreement = v[1],
                         .refit_accuracy = NAN,
                         .refit_agreement = NAN};
    return SUCCESS;
}

/* Rank 0. One that has been deleted since is made anew. */
static status find_published(const struct tally *tally, struct made *made) {
    const char *path = tally_find(tally, made->name);
    status error = path ? read_figures(path, &made->report) : SUCCESS;
    made->published = path && !error;
    status_drop(&error);
    if (!made->published) return SUCCESS;
    made->path = strdup(path);
    return made->path ? SUCCESS : status_no_memory("a path", strlen(path));
}

static status open_tally(const struct migration_run *g, struct tally **tally, struct made *made) {
    const struct config *c = g->job.config;
    char *path = NULL;
    if (asprintf(&path, "%s/%s.targets", c->runs, c->name) < 0)
        return status_no_memory("a path", strlen(c->runs));
    status error = tally_open(path, g->job.checkpoint_key, tally);
    for (int i = 0; i < c->ntargets && !error; i++) {
        error = find_published(*tally, &made[i]);
        if (!error && made[i].published)
            log_line(g->job.session->log, LOG_INFO,
                     "%s: made before this run was stopped: %s (delete %s to make it anew)", made[i].name,
                     made[i].path, path);
    }
    free(path);
    return error;
}

static status share_tally(const struct comm *world, int n, struct made *made) {
    for (int i = 0; i < n; i++) {
        int published = made[i].published;
        STATUS_TRY(comm_bcast(world, 0, &published, sizeof published));
        STATUS_TRY(comm_bcast(world, 0, &made[i].report, sizeof made[i].report));
        made[i].published = published;
    }
    return SUCCESS;
}

/* ---- the run ---- */

static status run_waves(struct wave_task *task) {
    const struct config *c = task->config;
    int *target = calloc((size_t)c->ntargets + 1, sizeof *target), n = 0;
    status error = target ? SUCCESS : status_no_memory("targets", (size_t)c->ntargets * sizeof *target);
    error = comm_agree(task->ground->job.session->world, error);
    for (int i = 0; i < c->ntargets && !error; i++)
        if (!task->made[i].published && task->made[i].measures) error = wave_run(task, 1, &i);
    for (int i = 0; i < c->ntargets && !error; i++)
        if (!task->made[i].published && !task->made[i].measures) target[n++] = i;
    if (!error && n > 0) error = wave_run(task, n, target);
    free(target);
    return error;
}

static status make_all(struct migration_run *ground, struct wave_task *task) {
    const struct comm *world = ground->job.session->world;
    const struct config *c = task->config;
    bool loads, labelled;
    STATUS_TRY(comm_agree(world, name_targets(c, task->made)));
    STATUS_TRY(
        comm_agree(world, comm_is_root(world) ? open_tally(ground, &task->tally, task->made) : SUCCESS));
    STATUS_TRY(share_tally(world, c->ntargets, task->made));
    STATUS_TRY(comm_agree(world, find_needs(c, task->made, &loads, &labelled)));
    if (loads) STATUS_TRY(ground_load(ground, labelled));
    STATUS_TRY(foretell_all(ground, c->ntargets, task->made));
    migration_phase(ground, "targets");
    return run_waves(task);
}

/* ---- the end ---- */

/* The first error of a target, the others as warnings; that a run goes on when it is started again outweighs
 * them, as a batch script has to know that. */
static status error_of_targets(const struct wave_task *task) {
    struct log *log = task->ground->job.session->log;
    const struct made *first = NULL;
    int n = task->config->ntargets;
    for (int i = 0; i < n; i++) {
        const struct made *m = &task->made[i];
        if (m->code == STATUS_OK) continue;
        bool stopped = m->code == STATUS_CHECKPOINTED;
        if (!first || (stopped && first->code != STATUS_CHECKPOINTED)) first = m;
    }
    for (int i = 0; i < n && comm_is_root(task->ground->job.session->world); i++) {
        const struct made *m = &task->made[i];
        if (m != first && m->code != STATUS_OK)
            log_line(log, m->code == STATUS_CHECKPOINTED ? LOG_INFO : LOG_WARN,
                     "target \"%s\" was not made: %s", m->name, m->message);
    }
    return first ? status_fail(first->code, "target \"%s\": %s", first->name, first->message) : SUCCESS;
}

/* Rank 0. */
static void print_table(int n, const struct made *made) {
    struct report_target *target = calloc((size_t)n + 1, sizeof *target);
    int published = 0;
    for (int i = 0; i < n && target; i++)
        if (made[i].published) target[published++] = (struct report_target){made[i].name, made[i].report};
    if (published) { /* else the figures are in each model.json */
        printf("\n");
        report_print_targets(stdout, published, target);
    }
    free(target);
}

static void say_use(const struct wave_task *task) {
    struct log *log = task->ground->job.session->log;
    if (!(task->all_s > 0)) return;
    int ranks = comm_size(task->ground->job.session->world);
    log_line(log, LOG_INFO, "%d rank%s worked %.0f %% of %.1f s, the rest they waited for other groups",
             ranks, ranks == 1 ? "" : "s", 100 * task->busy_s / task->all_s, task->all_s / ranks);
    LOG_EVENT(log, "utilisation", {"busy_s", task->busy_s, NULL}, {"all_s", task->all_s, NULL});
}

static status finish_run(struct wave_task *task, const char *name) {
    const struct comm *world = task->ground->job.session->world;
    int n = task->config->ntargets;
    if (comm_is_root(world)) print_table(n, task->made);
    status error = error_of_targets(task);
    if (!error && comm_is_root(world)) error = choose_target(task, name);
    error = comm_agree(world, error);
    if (comm_is_root(world)) {
        ground_print(task->ground, &task->memory, n);
        if (!error) tally_remove(task->tally);
        fflush(stdout);
    }
    say_use(task);
    return error;
}

static void free_made(int n, struct made *made) {
    for (int i = 0; i < n && made; i++) {
        free(made[i].name);
        free(made[i].message);
        free(made[i].path);
    }
    free(made);
}

status make_targets(const struct session *session, struct config *config) {
    struct migration_run ground = {0};
    int n = config->ntargets;
    struct made *made = calloc((size_t)n + 1, sizeof *made);
    char *name = strdup(config->name); /* "": there is none */
    struct wave_task task = {.ground = &ground, .config = config, .made = made};
    status error = made && name ? check(config) : status_no_memory("targets", (size_t)n * sizeof *made);
    error = comm_agree(session->world, error);
    if (error) {
        config_destroy(&config);
    } else {
        interrupt_catch();
        error = ground_open(session, config, &ground);
        if (!error) error = make_all(&ground, &task);
        if (!error) error = finish_run(&task, name);
        interrupt_release();
        error = ground_close(&ground, error);
    }
    tally_close(&task.tally);
    free_made(n, made);
    free(name);
    return error;
}

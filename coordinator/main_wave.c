#include "coordinator/main_wave.h"

#include "coordinator/main_phases.h"
#include "shared/interrupt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A target in the hands of this rank's group. */
struct held {
    int number; /* among all */
    struct session session;
    struct migration_run run;
    bool begun;
    status error;
    char *text; /* its report */
    size_t size;
};

struct wave {
    struct wave_task *task;
    struct schedule *schedule;
    struct comm *world, *node; /* of the group */
    int n, group;              /* targets of the wave; this rank's group */
    const int *target;
    struct held *held; /* [n], of this group's */
    int nheld;
    double seconds; /* that this rank's group worked */
};

/* ---- making ---- */

static status begin_target(struct wave *w, struct held *h) {
    const struct session *all = w->task->ground->job.session;
    const struct made *made = &w->task->made[h->number];
    struct config *one = NULL;
    h->session = (struct session){
        .world = w->world, .node = w->node, .threads = all->threads, .command_line = all->command_line};
    status error =
        log_branch(all->log, comm_rank(w->world), made->name, w->schedule->ngroups == 1, &h->session.log);
    if (!error) error = config_of_target(w->task->config, h->number, &one);
    if (!error && !(h->run.out = open_memstream(&h->text, &h->size)))
        error = status_no_memory("a report", sizeof *h);
    error = comm_agree(w->world, error);
    if (error) {
        config_destroy(&one);
        return error;
    }
    h->begun = true;
    STATUS_TRY(job_begin(&h->session, one, &h->run.job));
    return migration_stand_on(w->task->ground, &h->run);
}

static status make_target(struct wave *w, struct held *h) {
    bool stop = false;
    STATUS_TRY(comm_any(w->world, interrupt_requested(), &stop));
    if (stop)
        return status_fail(STATUS_CHECKPOINTED,
                           "stopped by SIGTERM before it was begun; run the same command again to continue");
    STATUS_TRY(begin_target(w, h));
    STATUS_TRY(make_phases(&h->run));
    migration_phase(&h->run, "wait for the others");
    model_destroy(&h->run.uncut);
    return SUCCESS;
}

/* This group's, in the order in which they stand, but first those that cannot be compiled, of which nothing
 * was foretold: their errors are better known early. */
static void take_targets(struct wave *w) {
    for (int compiles = 0; compiles <= 1; compiles++)
        for (int i = 0; i < w->n; i++)
            if (w->schedule->group[i] == w->group && (w->task->made[w->target[i]].cost > 0) == compiles)
                w->held[w->nheld++].number = w->target[i];
}

static void make_all(struct wave *w) {
    double start = comm_time();
    for (int i = 0; i < w->nheld; i++) {
        struct held *h = &w->held[i];
        h->error = make_target(w, h);
        if (h->error && h->session.log)
            log_line(h->session.log, LOG_INFO, "ends here, the other targets go on: %s",
                     status_message(h->error));
    }
    w->seconds = comm_time() - start;
}

/* ---- publishing ---- */

/* What the first rank of the target's group tells the others. */
struct outcome {
    enum status_code code;
    struct report report;
};

static struct held *find_held(const struct wave *w, int number) {
    for (int i = 0; i < w->nheld; i++)
        if (w->held[i].number == number) return &w->held[i];
    return NULL;
}

static const char *text_or_empty(const char *text) {
    return text ? text : "";
}

/* `from`: rank of the world whose group has it. The report goes to standard output by rank 0, so that reports
 * do not mix. */
static status tell(struct wave *w, int from, const struct held *h, struct made *made) {
    const struct comm *world = w->task->ground->job.session->world;
    struct outcome outcome = {0};
    char *text = NULL;
    if (h) {
        outcome = (struct outcome){status_code(h->error), h->run.report};
        outcome.report.phase = NULL;
        outcome.report.nphases = 0;
    }
    if (h && h->run.out) fflush(h->run.out);
    STATUS_TRY(comm_bcast(world, from, &outcome, sizeof outcome));
    free(made->message);
    made->message = NULL;
    STATUS_TRY(comm_bcast_text(world, from, h ? status_message(h->error) : "", &made->message));
    STATUS_TRY(comm_bcast_text(world, from, h ? text_or_empty(h->run.published) : "", &made->path));
    STATUS_TRY(comm_bcast_text(world, from, h ? text_or_empty(h->text) : "", &text));
    made->code = outcome.code;
    made->report = outcome.report;
    made->published = made->code == STATUS_OK;
    if (comm_is_root(world)) fputs(text, stdout);
    if (comm_is_root(world)) fflush(stdout);
    free(text);
    return SUCCESS;
}

/* One target after the other: no rank goes on to the next before it has heard of this one. */
static status publish_target(struct wave *w, int i) {
    const struct comm *world = w->task->ground->job.session->world;
    struct made *made = &w->task->made[w->target[i]];
    struct held *h = find_held(w, w->target[i]);
    if (h && !h->error) {
        migration_phase(&h->run, "latency");
        h->error = deliver_phases(&h->run);
    }
    STATUS_TRY(tell(w, schedule_first_rank(w->schedule, w->schedule->group[i]), h, made));
    status error = made->published && comm_is_root(world) && w->task->tally
                       ? tally_add(w->task->tally, made->name, made->path)
                       : SUCCESS;
    return comm_agree(world, error);
}

/* The ranks at work, and what the node holds, before anything of it is freed. */
static status measure(struct wave *w, double seconds) {
    const struct migration_run *ground = w->task->ground;
    const struct comm *world = ground->job.session->world;
    struct ground_memory memory, *most = &w->task->memory;
    double busy = w->seconds;
    STATUS_TRY(comm_sum_f64(world, &busy, 1));
    STATUS_TRY(ground_measure(ground, &memory));
    memory.parts = fmax(memory.parts, most->parts);
    *most = memory;
    w->task->busy_s += busy;
    w->task->all_s += seconds * comm_size(world);
    return SUCCESS;
}

static void say_groups(const struct wave *w) {
    const struct schedule *s = w->schedule;
    struct log *log = w->task->ground->job.session->log;
    for (int i = 0; i < w->n; i++)
        LOG_EVENT(log, "target", {"name", 0, w->task->made[w->target[i]].name}, {"group", s->group[i], NULL},
                  {"operations", w->task->made[w->target[i]].cost, NULL});
    for (int g = 0; g < s->ngroups; g++) {
        char names[512] = "";
        size_t used = 0;
        for (int i = 0; i < w->n && used < sizeof names; i++)
            if (s->group[i] == g)
                used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                         w->task->made[w->target[i]].name);
        int first = schedule_first_rank(s, g), last = schedule_first_rank(s, g + 1) - 1;
        if (first == last) log_line(log, LOG_INFO, "rank %d makes %s", first, used ? names : "nothing");
        else log_line(log, LOG_INFO, "ranks %d to %d make %s", first, last, used ? names : "nothing");
        LOG_EVENT(log, "group", {"first_rank", first, NULL}, {"last_rank", last, NULL},
                  {"targets", 0, names});
    }
}

/* Its error has been told; what closing finds is too late for that. */
static void close_held(struct held *h) {
    if (h->run.out) fclose(h->run.out);
    h->run.out = NULL;
    free(h->text);
    if (h->begun) {
        bool failed = h->error != SUCCESS;
        migration_close(&h->run);
        h->error = job_close(&h->run.job, h->error);
        if (h->error && !failed) log_line(h->session.log, LOG_WARN, "%s", status_message(h->error));
    }
    log_destroy(&h->session.log);
    status_drop(&h->error);
}

/* One that cannot be noted down keeps no other from being published. */
static status publish_all(struct wave *w, double seconds) {
    STATUS_TRY(measure(w, seconds));
    status error = SUCCESS;
    for (int i = 0; i < w->n; i++) error = status_first(error, publish_target(w, i));
    return error;
}

static status run_groups(struct wave *w) {
    const struct session *session = w->task->ground->job.session;
    double start = comm_time();
    STATUS_TRY(comm_split(session->world, w->group, comm_rank(session->world), &w->world));
    STATUS_TRY(comm_split(session->node, w->group, comm_rank(session->world), &w->node));
    say_groups(w);
    take_targets(w);
    make_all(w);
    status error = comm_barrier(session->world); /* from here on nothing else computes */
    if (!error) error = publish_all(w, comm_time() - start);
    for (int i = 0; i < w->nheld; i++) close_held(&w->held[i]);
    return error;
}

status wave_run(struct wave_task *task, int n, const int *target) {
    const struct comm *world = task->ground->job.session->world;
    struct wave w = {.task = task, .n = n, .target = target};
    double *cost = calloc((size_t)n + 1, sizeof *cost);
    w.held = calloc((size_t)n + 1, sizeof *w.held);
    status error = cost && w.held ? SUCCESS : status_no_memory("targets", (size_t)n * sizeof *w.held);
    for (int i = 0; i < n && !error; i++) cost[i] = task->made[target[i]].cost;
    if (!error) error = schedule_create(n, cost, comm_size(world), &w.schedule);
    error = comm_agree(world, error);
    if (!error) {
        w.group = schedule_group_of_rank(w.schedule, comm_rank(world));
        error = run_groups(&w);
    }
    if (w.world) comm_destroy(&w.world);
    if (w.node) comm_destroy(&w.node);
    schedule_destroy(&w.schedule);
    free(w.held);
    free(cost);
    return error;
}

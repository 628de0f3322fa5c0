#include "coordinator/main_targets.h"

#include "coordinator/main_phases.h"

#include <stdlib.h>
#include <string.h>

static status check(const struct config *config) {
    if (!config->output[0]) return SUCCESS;
    return status_fail(
        STATUS_USAGE,
        "\"output\" is one file, and there are several targets; leave it out, so that they go into "
        "the registry, or choose one with --target");
}

/* One target; what it leaves for the next one is in *m, what it was handed in *before. */
static status make_target(const struct session *session, const struct config *config, int i,
                          struct migration_run *before, struct migration_run *m) {
    struct config *one = NULL;
    m->job.session = session;
    STATUS_TRY(comm_agree(session->world, config_of_target(config, i, &one)));
    log_line(session->log, LOG_INFO, "target %d of %d: %s", i + 1, config->ntargets, one->name);
    STATUS_TRY(job_begin(session, one, &m->job));
    if (i > 0) migration_hand_over(before, m);
    return run_phases(m);
}

static void print_table(const struct config *config, const struct report *report) {
    int n = config->ntargets;
    struct report_target *target = calloc((size_t)n + 1, sizeof *target);
    char **name = calloc((size_t)n + 1, sizeof *name);
    for (int i = 0; i < n && target && name; i++) {
        name[i] = strndup(config->targets[i], strcspn(config->targets[i], "\n"));
        target[i] = (struct report_target){name[i] ? name[i] : "", report[i]};
    }
    if (target && name) { /* else the figures are in each model.json */
        printf("\n");
        report_print_targets(stdout, n, target);
    }
    for (int i = 0; i < n && name; i++) free(name[i]);
    free(name);
    free(target);
}

status make_targets(const struct session *session, struct config *config) {
    struct migration_run run[2] = {0}; /* this one and the one before, in turn */
    struct report *report = calloc((size_t)config->ntargets + 1, sizeof *report);
    status error = report ? check(config) : status_no_memory("reports", sizeof *report);
    error = comm_agree(session->world, error);
    int n = 0;
    while (n < config->ntargets && !error) {
        struct migration_run *m = &run[n % 2], *before = &run[(n + 1) % 2];
        error = make_target(session, config, n, before, m);
        if (n > 0) {
            migration_close(before);
            error = job_close(&before->job, error);
            *before = (struct migration_run){0};
        }
        report[n] = m->report;
        n++;
    }
    if (n > 0) {
        struct migration_run *last = &run[(n - 1) % 2];
        migration_close(last);
        error = job_close(&last->job, error);
    }
    if (!error && comm_is_root(session->world)) print_table(config, report);
    free(report);
    config_destroy(&config);
    return error;
}

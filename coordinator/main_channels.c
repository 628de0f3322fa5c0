#include "coordinator/main_channels.h"

#include "coordinator/budget.h"
#include "coordinator/main_latency.h"
#include "shared/log.h"
#include "worker/kernel_norm.h"

#include <stdlib.h>
#include <string.h>

static long long samples_of(const struct channels_task *t) {
    return t->calibration ? (long long)t->calibration->total : 0;
}

/* Without samples there is nothing to measure on. */
static const char *method_of(const struct channels_task *t) {
    const char *method = t->config->refit.select;
    return !samples_of(t) && !strcmp(method, "next_layer") ? "norm" : method;
}

static struct selection selection_of(const struct channels_task *t, const int *kept, double **error) {
    return (struct selection){.method = method_of(t),
                              .calibration = t->calibration,
                              .graph = t->full->graph,
                              .ops = t->full->ops,
                              .value_of = t->full->value_of,
                              .params = t->full->params,
                              .map = t->compiled->map,
                              .kept = kept,
                              .error = error};
}

/* A list for each group. */
static void free_lists(const struct channels_task *t, void **list) {
    for (int g = 0; list && g < channel_map_groups(t->compiled->map); g++) free(list[g]);
    free(list);
}

/* ---- how many ---- */

/* All but one of every group that may be narrowed, so that the whole of each error is measured:
 * error[g][width], the last of which is 0. */
static status prepare_errors(const struct channels_task *t, int *kept, double **error) {
    const struct channel_map *map = t->compiled->map;
    for (int g = 0; g < channel_map_groups(map); g++) {
        int width = channel_map_width(map, g);
        kept[g] = channel_map_fixed(map, g) || width < 2 ? width : width - 1;
        if (kept[g] == width) continue;
        STATUS_TRY(memory_alloc("errors", (size_t)width + 1, sizeof **error, (void **)&error[g]));
    }
    return SUCCESS;
}

/* What narrowing each group costs in error. */
static status measure_errors(const struct channels_task *t, int *kept, double **error) {
    int64_t **chosen = calloc((size_t)channel_map_groups(t->compiled->map) + 1, sizeof *chosen);
    status failed = chosen ? prepare_errors(t, kept, error) : status_no_memory("errors", 0);
    failed = comm_agree(t->machine->world, failed);
    if (!failed) {
        struct selection selection = selection_of(t, kept, error);
        failed = select_channels(t->machine, &selection, chosen);
    }
    free_lists(t, (void **)chosen);
    return failed;
}

static status allot(const struct channels_task *t, const double *const *error, int *kept, double *latency_s) {
    const struct target_config *config = &t->config->target;
    if (!budget_needs_latency(config))
        return comm_agree(t->machine->world, compile_widths(t->compiled, config, error, t->config->name));
    const struct latency_task task = {.machine = t->machine,
                                      .config = config,
                                      .compiled = t->compiled,
                                      .source = t->source,
                                      .error = error};
    STATUS_TRY(latency_allot(&task, kept, latency_s));
    return comm_agree(t->machine->world, compile_kept(t->compiled, config, kept, t->config->name));
}

status channels_allot(const struct channels_task *t, double *latency_s) {
    size_t groups = (size_t)channel_map_groups(t->compiled->map) + 1;
    int *kept = calloc(groups, sizeof *kept);
    double **error = calloc(groups, sizeof *error);
    bool measured = samples_of(t) > 0;
    status failed = kept && error ? SUCCESS : status_no_memory("errors", groups * sizeof *error);
    failed = comm_agree(t->machine->world, failed);
    if (!failed && measured) failed = measure_errors(t, kept, error);
    if (!failed) failed = allot(t, measured ? (const double *const *)error : NULL, kept, latency_s);
    if (!failed && measured)
        log_line(t->machine->log, LOG_INFO, "widths allotted by their errors on %lld samples", samples_of(t));
    free_lists(t, (void **)error);
    free(kept);
    return failed;
}

/* ---- which ---- */

/* Of an outline, kernel norms come from the files. */
static status select_streamed(const struct channels_task *t, struct selection *selection, int64_t **chosen) {
    double **norm = calloc((size_t)channel_map_groups(t->compiled->map) + 1, sizeof *norm);
    status error = comm_agree(t->machine->world, norm ? SUCCESS : status_no_memory("kernel norms", 0));
    if (!error && !strcmp(selection->method, "norm"))
        error = kernel_norms(t->machine, selection, t->program, norm);
    selection->norm = norm;
    if (!error) error = select_channels(t->machine, selection, chosen);
    free_lists(t, (void **)norm);
    return error;
}

static status choose(const struct channels_task *t, int64_t **chosen) {
    const struct comm *world = t->machine->world;
    struct compiled *c = t->compiled;
    if (!compile_is_given(c)) {
        struct selection selection = selection_of(t, c->kept, NULL);
        STATUS_TRY(t->program ? select_streamed(t, &selection, chosen)
                              : select_channels(t->machine, &selection, chosen));
        if (samples_of(t))
            log_line(t->machine->log, LOG_INFO, "channels chosen by %s from %lld samples", selection.method,
                     samples_of(t));
        else log_line(t->machine->log, LOG_INFO, "channels chosen by %s", selection.method);
    }
    STATUS_TRY(comm_agree(world, compile_given(c, chosen)));
    return comm_agree(world, compile_choose(c, chosen));
}

status channels_choose(const struct channels_task *t) {
    int64_t **chosen = calloc((size_t)channel_map_groups(t->compiled->map) + 1, sizeof *chosen);
    status error = comm_agree(t->machine->world, chosen ? SUCCESS : status_no_memory("channels", 0));
    if (!error) error = choose(t, chosen);
    free_lists(t, (void **)chosen);
    return error;
}

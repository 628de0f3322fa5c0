#include "coordinator/main_latency.h"

#include "coordinator/budget.h"
#include "shared/rng.h"
#include "worker/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHUFFLES 5        /* in each of which every group has each of its levels once */
#define TABLE_SECONDS 5.0 /* for all of these measurements */
#define WHOLE_SECONDS 0.3 /* for one of a whole target */
#define ROUNDS 6          /* of allotting and measuring */
#define MARGIN 0.98       /* of the limit that is aimed at: measurements differ */
#define NEAR_ENOUGH 0.95  /* of the limit, where the rounds end */

/* A target of some widths, whose weights are zero. Owned by the caller. */
static status narrowed_model(const struct latency_task *t, const int *kept, struct model **model) {
    struct graph *graph = NULL;
    status error = compile_narrowed(t->compiled, kept, &graph);
    if (error) {
        graph_destroy(&graph);
        return error;
    }
    return model_create(graph, model);
}

static status measure_model(const struct latency_task *t, const struct model *model, double *seconds) {
    return measure_latency(t->machine, model->ops, model->params, 1, WHOLE_SECONDS, seconds);
}

static status measure_kept(const struct latency_task *t, const int *kept, double *seconds) {
    struct model *model = NULL;
    STATUS_TRY(narrowed_model(t, kept, &model));
    status error = measure_model(t, model, seconds);
    model_destroy(&model);
    return error;
}

/* The widest, or the narrowest. */
static void set_all(const struct latency_task *t, bool widest, int *kept) {
    const struct channel_map *map = t->compiled->map;
    for (int g = 0; g < channel_map_groups(map); g++) {
        int width = channel_map_width(map, g);
        kept[g] = widest || channel_map_fixed(map, g) ? width : latency_level(width, 0);
    }
}

/* ---- the model of parts ---- */

/* Targets of several widths, the patterns, whose parts are measured: (parts, patterns) of each. */
struct table {
    struct latency_model *model;
    int patterns;
    int64_t *level; /* (groups, patterns / SHUFFLES) of the present shuffle; fewer levels come again */
    double *in, *out, *seconds;
};

/* The operations of a part; NULL with SUCCESS: it has none that can be run on its own. */
static status part_operations(const struct model *m, const struct latency_part *part, struct opgraph **ops) {
    const struct node *first = &m->graph->node[part->first];
    int n = 0, last = m->value_of[part->last], *in = calloc((size_t)first->nin + 1, sizeof *in);
    bool possible = true;
    *ops = NULL;
    if (!in) return status_no_memory("operations", (size_t)first->nin * sizeof *in);
    for (int k = 0; k < first->nin; k++) {
        int value = m->value_of[first->in[k].node], i = 0;
        while (i < n && in[i] != value) i++;
        if (i == n) in[n++] = value;
        possible &= first->in[k].slot == 0 && value != last;
    }
    status error = possible ? opgraph_cut(m->ops, n, in, 1, &last, ops) : SUCCESS;
    free(in);
    return error;
}

static status measure_part(const struct latency_task *t, const struct model *m,
                           const struct latency_part *part, double budget, double *seconds) {
    struct opgraph *ops = NULL;
    *seconds = 0;
    STATUS_TRY(part_operations(m, part, &ops));
    status error = SUCCESS;
    if (ops && ops->nops) error = measure_latency(t->machine, ops, m->params, 1, budget, seconds);
    opgraph_destroy(&ops);
    return error;
}

static status measure_pattern(const struct latency_task *t, struct table *table, int pattern, int *kept) {
    struct latency_model *model = table->model;
    struct model *m = NULL;
    STATUS_TRY(narrowed_model(t, kept, &m));
    status error = SUCCESS;
    for (int i = 0; i < model->nparts && !error; i++) {
        int at = i * table->patterns + pattern;
        latency_widths(m->graph, &model->part[i], &table->in[at], &table->out[at]);
        error = measure_part(t, m, &model->part[i], TABLE_SECONDS / ((double)table->patterns * model->nparts),
                             &table->seconds[at]);
    }
    model_destroy(&m);
    return error;
}

/* Levels in an order of its own for each group, so that what a part reads and makes is of all kinds. */
static void shuffle(const struct latency_task *t, struct table *table, struct rng *rng) {
    const struct channel_map *map = t->compiled->map;
    int each = table->patterns / SHUFFLES;
    for (int g = 0; g < channel_map_groups(map); g++) {
        int64_t *level = table->level + (int64_t)g * each;
        for (int i = 0; i < each; i++) level[i] = i % latency_levels(channel_map_width(map, g));
        rng_shuffle(rng, level, each);
    }
}

static status measure_parts(const struct latency_task *t, struct table *table, int *kept) {
    const struct channel_map *map = t->compiled->map;
    struct rng rng = rng_make(1, RNG_CALIBRATION, 0);
    int each = table->patterns / SHUFFLES;
    log_progress_begin(t->machine->log, "latency", "widths", table->patterns);
    for (int p = 0; p < table->patterns; p++) {
        if (p % each == 0) shuffle(t, table, &rng);
        set_all(t, true, kept);
        for (int g = 0; g < channel_map_groups(map); g++)
            if (!channel_map_fixed(map, g))
                kept[g] = latency_level(kept[g], (int)table->level[(int64_t)g * each + p % each]);
        STATUS_TRY(measure_pattern(t, table, p, kept));
        log_progress(t->machine->log, p + 1, NULL);
    }
    log_progress_end(t->machine->log);
    for (int i = 0, n = table->patterns; i < table->model->nparts; i++)
        STATUS_TRY(latency_fit(n, table->in + i * n, table->out + i * n, table->seconds + i * n,
                               &table->model->part[i]));
    return SUCCESS;
}

/* Owned by the caller, on failure too. */
static status make_model(const struct latency_task *t, int *kept, struct latency_model **model) {
    const struct channel_map *map = t->compiled->map;
    struct table table = {0};
    int levels = 1;
    STATUS_TRY(latency_model_create(t->compiled->skeleton->graph, model));
    for (int g = 0; g < channel_map_groups(map); g++) {
        int of = channel_map_fixed(map, g) ? 1 : latency_levels(channel_map_width(map, g));
        if (of > levels) levels = of;
    }
    table.model = *model;
    table.patterns = SHUFFLES * levels;
    size_t n = (size_t)(*model)->nparts * (size_t)table.patterns,
           nlevels = (size_t)channel_map_groups(map) * (size_t)levels;
    status error = memory_alloc("latencies", n, sizeof *table.in, (void **)&table.in);
    if (!error) error = memory_alloc("latencies", n, sizeof *table.out, (void **)&table.out);
    if (!error) error = memory_alloc("latencies", n, sizeof *table.seconds, (void **)&table.seconds);
    if (!error) error = memory_alloc("latencies", nlevels, sizeof *table.level, (void **)&table.level);
    if (!error) error = measure_parts(t, &table, kept);
    free(table.in);
    free(table.out);
    free(table.seconds);
    free(table.level);
    return error;
}

/* Seconds by the model, as it is scaled. */
static status model_seconds(const struct latency_task *t, const struct latency_model *model, const int *kept,
                            double *seconds) {
    struct graph *graph = NULL;
    status error = compile_narrowed(t->compiled, kept, &graph);
    if (!error) *seconds = latency_of(model, graph);
    graph_destroy(&graph);
    return error;
}

/* ---- allotting ---- */

/* The best of the rounds. */
struct choice {
    double seconds, limit;
    int *kept;
    bool any;
};

/* Within the limit the slowest, which is the widest; else the fastest. */
static bool is_better(const struct choice *best, double seconds) {
    if (!best->any) return true;
    if (seconds <= best->limit) return best->seconds > best->limit || seconds > best->seconds;
    return seconds < best->seconds;
}

/* No limit is below what the model says of the narrowest target, which has been measured to be within it. */
static status allot(const struct latency_task *t, const struct latency_model *model, double limit,
                    int *kept) {
    double least;
    set_all(t, false, kept);
    STATUS_TRY(model_seconds(t, model, kept, &least));
    struct latency_limit within = {model, fmax(MARGIN * limit, 1.001 * least)};
    status error = budget_allot(t->compiled, t->config, &within, t->error, kept);
    if (!t->error || status_code(error) != STATUS_USAGE) return error;
    status_drop(&error); /* no single group saves time any more; all together may */
    return budget_allot(t->compiled, t->config, &within, NULL, kept);
}

static bool is_whole(const struct latency_task *t, const int *kept) {
    const struct channel_map *map = t->compiled->map;
    for (int g = 0; g < channel_map_groups(map); g++)
        if (kept[g] != channel_map_width(map, g)) return false;
    return true;
}

/* Widths measured again are as slow as the slowest time. */
static void consider(struct choice *best, const int *kept, size_t groups, double seconds) {
    bool same = best->any && !memcmp(best->kept, kept, groups * sizeof *kept);
    if (!same && !is_better(best, seconds)) return;
    memcpy(best->kept, kept, groups * sizeof *kept);
    best->seconds = same ? fmax(best->seconds, seconds) : seconds;
    best->any = true;
}

static status run_rounds(const struct latency_task *t, struct latency_model *model, int *kept, int *last,
                         struct choice *best) {
    size_t groups = (size_t)channel_map_groups(t->compiled->map);
    for (int round = 0; round < ROUNDS; round++) {
        double expected, seconds;
        memcpy(last, kept, groups * sizeof *kept);
        STATUS_TRY(allot(t, model, best->limit, kept));
        STATUS_TRY(model_seconds(t, model, kept, &expected));
        STATUS_TRY(measure_kept(t, kept, &seconds));
        log_line(t->machine->log, LOG_DEBUG, "latency of the widths of round %d: %.4g ms, expected %.4g ms",
                 round + 1, 1e3 * seconds, 1e3 * expected);
        LOG_EVENT(t->machine->log, "latency", {"expected_s", expected, NULL}, {"measured_s", seconds, NULL});
        consider(best, kept, groups, seconds);
        bool settled = is_whole(t, kept) || seconds >= NEAR_ENOUGH * best->limit ||
                       (round && !memcmp(last, kept, groups * sizeof *kept));
        if (seconds <= best->limit && settled) break;
        if (expected > 0) model->scale *= seconds / expected;
    }
    return SUCCESS;
}

static status limit_of(const struct latency_task *t, double *limit) {
    double source;
    *limit = t->config->latency_ms > 0 ? t->config->latency_ms / 1e3 : INFINITY;
    if (!(t->config->latency_ratio > 0)) return SUCCESS;
    STATUS_TRY(measure_model(t, t->source, &source));
    *limit = fmin(*limit, t->config->latency_ratio * source);
    return SUCCESS;
}

static status too_slow(double least, double limit) {
    return status_fail(STATUS_USAGE,
                       "as narrow as it can be the target takes %.4g ms a sample; raise target.latency_ms or "
                       "target.latency_ratio, which allows %.4g",
                       1e3 * least, 1e3 * limit);
}

/* Rank 0. `last` is room for widths. */
static status search(const struct latency_task *t, int *kept, int *last, struct choice *best) {
    struct latency_model *model = NULL;
    double full, parts, least;
    STATUS_TRY(limit_of(t, &best->limit));
    set_all(t, false, kept);
    STATUS_TRY(measure_kept(t, kept, &least));
    if (least > best->limit) return too_slow(least, best->limit);
    status error = make_model(t, kept, &model);
    set_all(t, true, kept);
    if (!error) error = measure_kept(t, kept, &full);
    if (!error) error = model_seconds(t, model, kept, &parts);
    if (!error) {
        log_line(
            t->machine->log, LOG_INFO,
            "latency at full width %.4g ms (%.4g ms as the sum of %d parts), narrowest %.4g ms, wanted %.4g "
            "ms",
            1e3 * full, 1e3 * parts, model->nparts, 1e3 * least, 1e3 * best->limit);
        if (parts > 0) model->scale = full / parts;
        error = run_rounds(t, model, kept, last, best);
    }
    latency_model_destroy(&model);
    return error;
}

status latency_allot(const struct latency_task *t, int *kept, double *limit_s) {
    const struct comm *world = t->machine->world;
    size_t groups = (size_t)channel_map_groups(t->compiled->map);
    struct choice best = {0};
    status error = SUCCESS;
    if (comm_is_root(world)) {
        best.kept = calloc(2 * groups + 1, sizeof *best.kept);
        error = best.kept ? search(t, kept, best.kept + groups, &best)
                          : status_no_memory("widths", groups * sizeof *kept);
        if (!error) memcpy(kept, best.kept, groups * sizeof *kept);
        free(best.kept);
    }
    STATUS_TRY(comm_agree(world, error));
    STATUS_TRY(comm_bcast(world, 0, kept, groups * sizeof *kept));
    double figures[2] = {best.limit, best.seconds};
    STATUS_TRY(comm_bcast(world, 0, figures, sizeof figures));
    *limit_s = figures[0];
    if (figures[1] > figures[0] && comm_is_root(world))
        log_line(t->machine->log, LOG_WARN,
                 "no widths were found within %.4g ms a sample; the fastest takes %.4g ms", 1e3 * figures[0],
                 1e3 * figures[1]);
    else
        log_line(t->machine->log, LOG_INFO, "widths allotted within %.4g ms a sample: %.4g ms measured",
                 1e3 * figures[0], 1e3 * figures[1]);
    return SUCCESS;
}

#include "coordinator/budget.h"

#include "coordinator/target_kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HALVINGS 20 /* of the range of factors */
#define EXCHANGES 4000
#define STEPS 16 /* in which a group is narrowed, or one by one if it has fewer channels */

struct limits {
    double params, flops, seconds; /* INFINITY: none */
    const struct latency_model *latency;
};

struct cost {
    double params, flops, seconds;
};

/* A number up to 1 is a fraction of the source's. */
static double limit_of(double setting, double source) {
    return setting <= 0 ? INFINITY : setting <= 1 ? setting * source : setting;
}

bool budget_needs_latency(const struct target_config *config) {
    return config->latency_ms > 0 || config->latency_ratio > 0;
}

bool budget_is_set(const struct target_config *config) {
    return config->params > 0 || config->flops > 0 || budget_needs_latency(config);
}

static status cost_of(const struct compiled *c, const struct limits *limits, const int *kept,
                      struct cost *cost) {
    struct graph *graph = NULL;
    struct graph_counts counts;
    status error = compile_narrowed(c, kept, &graph);
    if (!error) error = graph_count(graph, &counts);
    if (!error && counts.flops < 0 && !isinf(limits->flops))
        error = status_fail(STATUS_UNSUPPORTED,
                            "target.flops needs inputs of known size: give the source a fixed input shape");
    if (!error)
        *cost = (struct cost){(double)counts.params, counts.flops,
                              limits->latency ? latency_of(limits->latency, graph) : 0};
    graph_destroy(&graph);
    return error;
}

/* How far it is above the limits, in units of them; at most 0: within. */
static double excess(const struct limits *limits, const struct cost *cost) {
    double params = isinf(limits->params) ? -1 : cost->params / limits->params - 1;
    double flops = isinf(limits->flops) ? -1 : cost->flops / limits->flops - 1;
    double seconds = isinf(limits->seconds) ? -1 : cost->seconds / limits->seconds - 1;
    return fmax(seconds, fmax(params, flops));
}

/* What counts of a saving: the part of the limits that are passed. */
static double saving(const struct limits *limits, const struct cost *before, const struct cost *after) {
    double sum = 0;
    if (before->params > limits->params) sum += (before->params - after->params) / limits->params;
    if (before->flops > limits->flops) sum += (before->flops - after->flops) / limits->flops;
    if (before->seconds > limits->seconds) sum += (before->seconds - after->seconds) / limits->seconds;
    return sum;
}

static status too_small(const struct limits *limits, const struct cost *least) {
    bool params = least->params > limits->params;
    if (!params && !(least->flops > limits->flops))
        return status_fail(
            STATUS_USAGE,
            "the budget is too small: as narrow as it can be the target takes %.4g ms a sample; "
            "raise target.latency_ms or target.latency_ratio, which allows %.4g",
            1e3 * least->seconds, 1e3 * limits->seconds);
    return status_fail(
        STATUS_USAGE,
        "the budget is too small: as narrow as it can be the target has %.0f %s; raise %s, which "
        "allows %.0f",
        params ? least->params : least->flops, params ? "parameters" : "operations a sample",
        params ? "target.params" : "target.flops", params ? limits->params : limits->flops);
}

static void scale_all(const struct compiled *c, const struct limits *limits, double factor, int *kept) {
    for (int g = 0; g < channel_map_groups(c->map); g++) {
        int width = channel_map_width(c->map, g);
        kept[g] = channel_map_fixed(c->map, g) ? width
                  : limits->latency            ? latency_level_at(width, factor * width)
                                               : target_scaled(width, factor);
    }
}

static status allot_alike(const struct compiled *c, const struct limits *limits, int *kept) {
    struct cost cost;
    double low = 0, high = 1;
    scale_all(c, limits, 1, kept);
    STATUS_TRY(cost_of(c, limits, kept, &cost));
    if (excess(limits, &cost) <= 0) return SUCCESS;
    scale_all(c, limits, 0, kept);
    STATUS_TRY(cost_of(c, limits, kept, &cost));
    if (excess(limits, &cost) > 0) return too_small(limits, &cost);
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        scale_all(c, limits, middle, kept);
        STATUS_TRY(cost_of(c, limits, kept, &cost));
        *(excess(limits, &cost) > 0 ? &high : &low) = middle;
    }
    scale_all(c, limits, low, kept);
    return SUCCESS;
}

/* ---- by errors ---- */

/* A group's next step, and what it is worth. */
struct step {
    int kept;     /* after it; 0: there is none */
    double price; /* error for what is saved */
    bool fresh;   /* computed for the present widths of all others */
};

/* The next narrower width (by -1), or wider one (by 1), or the one after (by 2); the same if there is none.
 */
static int next_width(const struct compiled *c, const struct limits *limits, int group, int kept, int by) {
    int width = channel_map_width(c->map, group), step = width / STEPS < 1 ? 1 : width / STEPS;
    if (channel_map_fixed(c->map, group)) return kept;
    if (!limits->latency) {
        int to = kept + by * step;
        return to > width ? width : to >= 1 ? to : by == -1 && kept > 1 ? 1 : kept;
    }
    int k = 0, last = latency_levels(width) - 1;
    while (k < last && latency_level(width, k) < kept) k++;
    k += by;
    return k < 0 || k > last ? kept : latency_level(width, k);
}

static double error_at(const struct compiled *c, const double *error, int group, int kept) {
    return error ? error[kept] : 1 - (double)kept / channel_map_width(c->map, group);
}

/* Error for what is saved when the group goes from `before` to `after`. */
static status price_of(const struct compiled *c, const struct limits *limits, const double *error, int group,
                       const struct cost *now, int after, int *kept, double *price) {
    int before = kept[group];
    struct cost cost;
    kept[group] = after;
    status failed = cost_of(c, limits, kept, &cost);
    kept[group] = before;
    STATUS_TRY(failed);
    double saved = saving(limits, now, &cost);
    double grown = error_at(c, error, group, after) - error_at(c, error, group, before);
    *price = saved > 0 ? grown / saved : INFINITY;
    return SUCCESS;
}

/* To the next narrower width; where latency counts, which may grow with fewer channels, to the best of all.
 */
static status price_step(const struct compiled *c, const struct limits *limits, const double *error,
                         int group, const struct cost *now, int *kept, struct step *step) {
    int to = next_width(c, limits, group, kept[group], -1), from = kept[group];
    *step = (struct step){.fresh = true, .price = INFINITY};
    while (to != from) {
        double price;
        STATUS_TRY(price_of(c, limits, error, group, now, to, kept, &price));
        if (!step->kept || price < step->price) {
            step->kept = to;
            step->price = price;
        }
        from = to;
        if (limits->latency) to = next_width(c, limits, group, from, -1);
    }
    return SUCCESS;
}

/* The cheapest step. Prices only rise while other groups are narrowed, so that one that has been computed
 * again and is still the lowest is the lowest of all. */
static status cheapest(const struct compiled *c, const struct limits *limits, const double *const *error,
                       const struct cost *now, int *kept, struct step *step, int *best) {
    int groups = channel_map_groups(c->map);
    for (;;) {
        *best = -1;
        for (int g = 0; g < groups; g++)
            if (step[g].kept && (*best < 0 || step[g].price < step[*best].price)) *best = g;
        if (*best < 0 || step[*best].fresh) return SUCCESS;
        STATUS_TRY(price_step(c, limits, error[*best], *best, now, kept, &step[*best]));
    }
}

static status narrow_by_steps(const struct compiled *c, const struct limits *limits,
                              const double *const *error, struct step *step, int *kept) {
    int groups = channel_map_groups(c->map), best;
    struct cost now;
    STATUS_TRY(cost_of(c, limits, kept, &now));
    for (int g = 0; g < groups; g++) STATUS_TRY(price_step(c, limits, error[g], g, &now, kept, &step[g]));
    while (excess(limits, &now) > 0) {
        STATUS_TRY(cheapest(c, limits, error, &now, kept, step, &best));
        if (best < 0 || isinf(step[best].price)) return too_small(limits, &now);
        kept[best] = step[best].kept;
        STATUS_TRY(cost_of(c, limits, kept, &now));
        for (int g = 0; g < groups; g++) step[g].fresh = false;
        STATUS_TRY(price_step(c, limits, error[best], best, &now, kept, &step[best]));
    }
    return SUCCESS;
}

/* ---- improving ---- */

static double total_error(const struct compiled *c, const double *const *error, const int *kept) {
    double sum = 0;
    for (int g = 0; g < channel_map_groups(c->map); g++)
        if (!channel_map_fixed(c->map, g)) sum += error_at(c, error[g], g, kept[g]);
    return sum;
}

static bool move(const struct compiled *c, const struct limits *limits, int group, int by, int *kept) {
    int to = next_width(c, limits, group, kept[group], by);
    if (to == kept[group]) return false;
    kept[group] = to;
    return true;
}

/* Widens `up` and narrows `down` (-1: nothing) if the target stays within the limits and the errors fall. */
static status try_exchange(const struct compiled *c, const struct limits *limits, const double *const *error,
                           int up, int down, const int by[2], int *kept, bool *better) {
    int before[2] = {kept[up], down >= 0 ? kept[down] : 0};
    double least = total_error(c, error, kept);
    struct cost cost;
    status failed = SUCCESS;
    *better = move(c, limits, up, by[0], kept) && (down < 0 || move(c, limits, down, -by[1], kept)) &&
              total_error(c, error, kept) < least;
    if (*better) {
        failed = cost_of(c, limits, kept, &cost);
        *better = !failed && excess(limits, &cost) <= 0;
    }
    if (!*better) {
        kept[up] = before[0];
        if (down >= 0) kept[down] = before[1];
    }
    return failed;
}

/* The last step may have saved more than was needed, and an earlier one less than another would now. */
static status exchange(const struct compiled *c, const struct limits *limits, const double *const *error,
                       int *kept) {
    static const int steps[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}};
    int groups = channel_map_groups(c->map), left = EXCHANGES, kinds = limits->latency ? 4 : 1;
    for (bool any = true; any && left > 0;) {
        any = false;
        for (int up = 0; up < groups; up++)
            for (int down = -1; down < groups; down++)
                for (int k = 0; k < kinds && left > 0 && down != up; k++, left--) {
                    bool better = false;
                    STATUS_TRY(try_exchange(c, limits, error, up, down, steps[k], kept, &better));
                    any = any || better;
                }
    }
    return SUCCESS;
}

static status allot_by_errors(const struct compiled *c, const struct limits *limits,
                              const double *const *error, int *kept) {
    struct step *step = calloc((size_t)channel_map_groups(c->map) + 1, sizeof *step);
    if (!step) return status_no_memory("widths", (size_t)channel_map_groups(c->map) * sizeof *step);
    scale_all(c, limits, 1, kept);
    status failed = narrow_by_steps(c, limits, error, step, kept);
    if (!failed) failed = exchange(c, limits, error, kept);
    free(step);
    return failed;
}

status budget_allot(const struct compiled *c, const struct target_config *config,
                    const struct latency_limit *latency, const double *const *error, int *kept) {
    struct graph_counts source;
    STATUS_TRY(graph_count(c->fold->graph, &source));
    struct limits limits = {limit_of(config->params, (double)source.params),
                            limit_of(config->flops, source.flops), latency ? latency->seconds : INFINITY,
                            latency ? latency->model : NULL};
    return error ? allot_by_errors(c, &limits, error, kept) : allot_alike(c, &limits, kept);
}

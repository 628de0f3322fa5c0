#include "coordinator/choice.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A figure of a target and its limit; the less the better, but for accuracy. */
struct limit {
    const char *key;
    double most, value; /* most 0: there is none */
    bool least;         /* the limit is one from below */
    double scale;       /* to what is printed */
    const char *unit;
};

enum { NLIMITS = 5 };

static double quality(const struct report *r) {
    return isnan(r->target.accuracy) ? r->agreement : r->target.accuracy;
}

/* Up to 1 it is a fraction. */
static double of_source(double limit, double source) {
    return limit <= 1 ? limit * source : limit;
}

static double known(double value) {
    return value > 0 ? value : NAN;
}

static void list_limits(const struct choose_config *c, const struct report *r, struct limit limit[NLIMITS]) {
    double flops = known(r->target.flops), latency = known(r->target.latency_s);
    limit[0] = (struct limit){"params",
                              of_source(c->params, (double)r->source.parameters),
                              (double)r->target.parameters,
                              false,
                              1,
                              " parameters"};
    limit[1] = (struct limit){"flops", of_source(c->flops, r->source.flops), flops, false, 1e-6, " MFLOP"};
    limit[2] = (struct limit){"latency_ms", c->latency_ms / 1e3, latency, false, 1e3, " ms"};
    limit[3] =
        (struct limit){"latency_ratio", c->latency_ratio * r->source.latency_s, latency, false, 1e3, " ms"};
    limit[4] = (struct limit){"accuracy", c->accuracy, quality(r), true, 100, " %"};
    if (!(c->params > 0)) limit[0].most = 0;
    if (!(c->flops > 0)) limit[1].most = 0;
}

/* By how much of the limit it is missed; 0: it is kept. */
static double excess(const struct limit *l) {
    if (!(l->most > 0)) return 0;
    if (isnan(l->value)) return INFINITY;
    double over = l->least ? l->most - l->value : l->value - l->most;
    return over > 0 ? over / l->most : 0;
}

/* The limit that is missed most. */
static double worst_excess(const struct choose_config *c, const struct report *r, struct limit *worst) {
    struct limit limit[NLIMITS];
    list_limits(c, r, limit);
    *worst = limit[0];
    for (int i = 1; i < NLIMITS; i++)
        if (excess(&limit[i]) > excess(worst)) *worst = limit[i];
    return excess(worst);
}

static bool limits_cost(const struct choose_config *c) {
    return c->params > 0 || c->flops > 0 || c->latency_ms > 0 || c->latency_ratio > 0;
}

bool choice_is_wanted(const struct choose_config *c) {
    return strcmp(c->by, "auto") != 0 || limits_cost(c) || c->accuracy > 0;
}

static const char *measure_of(const struct choose_config *c) {
    if (strcmp(c->by, "auto") != 0) return c->by;
    return c->accuracy > 0 && !limits_cost(c) ? "params" : "accuracy";
}

/* The less the better. */
static double cost_by(const char *by, const struct report *r) {
    double cost = !strcmp(by, "accuracy") ? -quality(r)
                  : !strcmp(by, "params") ? (double)r->target.parameters
                  : !strcmp(by, "flops")  ? known(r->target.flops)
                                          : known(r->target.latency_s);
    return isnan(cost) ? INFINITY : cost;
}

static bool betters(const char *by, const struct report *a, const struct report *b) {
    double x = cost_by(by, a), y = cost_by(by, b);
    return x < y || (x <= y && a->target.parameters < b->target.parameters);
}

static status say(struct choice *choice, int length) {
    if (length < 0) choice->reason = NULL;
    return length < 0 ? status_no_memory("a reason", 0) : SUCCESS;
}

static status say_chosen(const char *by, int n, int within, const struct report_target *t,
                         struct choice *choice) {
    const struct report *r = &t[choice->chosen].report;
    char what[64], figure[64];
    snprintf(what, sizeof what, "%s",
             !strcmp(by, "params")       ? "fewest parameters"
             : !strcmp(by, "flops")      ? "fewest operations"
             : !strcmp(by, "latency")    ? "lowest latency"
             : isnan(r->target.accuracy) ? "highest agreement with the source"
                                         : "highest accuracy");
    if (!strcmp(by, "params")) snprintf(figure, sizeof figure, "%lld", (long long)r->target.parameters);
    else if (!strcmp(by, "flops")) snprintf(figure, sizeof figure, "%.2f MFLOP", r->target.flops / 1e6);
    else if (!strcmp(by, "latency")) snprintf(figure, sizeof figure, "%.3f ms", 1e3 * r->target.latency_s);
    else snprintf(figure, sizeof figure, "%.2f %%", 100 * quality(r));
    return say(choice, asprintf(&choice->reason, "%s, %s, of the %d of %d targets within the limits", what,
                                figure, within, n));
}

static status say_nearest(const struct choose_config *c, const struct report_target *t,
                          struct choice *choice) {
    struct limit worst;
    double over = worst_excess(c, &t[choice->nearest].report, &worst);
    if (isinf(over))
        return say(choice, asprintf(&choice->reason, "choose.%s is limited, but not known of it", worst.key));
    return say(choice,
               asprintf(&choice->reason, "%.6g%s, choose.%s allows %.6g at %s", worst.scale * worst.value,
                        worst.unit, worst.key, worst.scale * worst.most, worst.least ? "least" : "most"));
}

status choice_make(const struct choose_config *c, int n, const struct report_target *t,
                   struct choice *choice) {
    const char *by = measure_of(c);
    double least = INFINITY;
    int within = 0;
    *choice = (struct choice){.chosen = -1, .nearest = n > 0 ? 0 : -1};
    for (int i = 0; i < n; i++) {
        struct limit worst;
        double over = worst_excess(c, &t[i].report, &worst);
        if (over < least) {
            least = over;
            choice->nearest = i;
        }
        if (over > 0) continue;
        within++;
        if (choice->chosen < 0 || betters(by, &t[i].report, &t[choice->chosen].report)) choice->chosen = i;
    }
    if (choice->chosen >= 0) return say_chosen(by, n, within, t, choice);
    return n > 0 ? say_nearest(c, t, choice) : SUCCESS;
}

void choice_free(struct choice *choice) {
    free(choice->reason);
    choice->reason = NULL;
}

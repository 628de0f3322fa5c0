#include "coordinator/schedule.h"

#include <stdbool.h>
#include <stdlib.h>

#define EPOCHS 30 /* where their number is not known */

double schedule_operations(const struct config *c, double samples, double source, double target) {
    bool augment = c->data.flip || c->data.shift > 0;
    double epochs = (double)(c->training.epochs < 0 ? EPOCHS : c->training.epochs) +
                    (double)c->training.blockwise_epochs,
           taught = augment ? epochs : epochs > 0;
    return samples * (epochs * 3 * target + taught * source) +
           (double)c->refit.samples * (1 + (double)c->refit.sweeps) * 2 * (source + target);
}

void schedule_destroy(struct schedule **schedule) {
    if (!*schedule) return;
    free((*schedule)->group);
    free(*schedule);
    *schedule = NULL;
}

int schedule_first_rank(const struct schedule *s, int group) {
    int more = s->nranks % s->ngroups;
    return s->nranks / s->ngroups * group + (group < more ? group : more);
}

int schedule_group_of_rank(const struct schedule *s, int rank) {
    int group = 0;
    while (group + 1 < s->ngroups && rank >= schedule_first_rank(s, group + 1)) group++;
    return group;
}

/* The costliest that is not dealt out yet. */
static int next_target(const struct schedule *s, const double *cost) {
    int next = -1;
    for (int i = 0; i < s->ntargets; i++)
        if (s->group[i] < 0 && (next < 0 || cost[i] > cost[next])) next = i;
    return next;
}

static int group_for(const struct schedule *s, double cost, const double *load, const int *count) {
    int best = 0;
    double best_end = 0;
    for (int g = 0; g < s->ngroups; g++) {
        double end = (load[g] + cost) / (schedule_first_rank(s, g + 1) - schedule_first_rank(s, g));
        bool better = end < best_end || (end <= best_end && count[g] < count[best]);
        if (g > 0 && !better) continue;
        best = g;
        best_end = end;
    }
    return best;
}

static void deal(struct schedule *s, const double *cost, double *load, int *count) {
    for (int i = 0; i < s->ntargets; i++) s->group[i] = -1;
    for (int i = next_target(s, cost); i >= 0; i = next_target(s, cost)) {
        int g = group_for(s, cost[i], load, count);
        s->group[i] = g;
        load[g] += cost[i];
        count[g]++;
    }
}

status schedule_create(int ntargets, const double *cost, int nranks, struct schedule **schedule) {
    struct schedule *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("a schedule", sizeof *s);
    s->ntargets = ntargets;
    s->nranks = nranks;
    s->ngroups = ntargets < nranks ? ntargets : nranks;
    s->group = calloc((size_t)ntargets + 1, sizeof *s->group);
    double *load = calloc((size_t)s->ngroups + 1, sizeof *load);
    int *count = calloc((size_t)s->ngroups + 1, sizeof *count);
    bool whole = s->group && load && count;
    if (whole) deal(s, cost, load, count);
    else schedule_destroy(&s);
    free(load);
    free(count);
    *schedule = s;
    return whole ? SUCCESS : status_no_memory("a schedule", (size_t)ntargets * sizeof *cost);
}

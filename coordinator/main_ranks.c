#include "coordinator/main_ranks.h"

#include "coordinator/skeleton.h"
#include "worker/energy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct candidates {
    int n;
    int *layer, *value; /* [n] of the source */
    int64_t *rank;      /* [n] */
};

static void candidates_free(struct candidates *c) {
    free(c->layer);
    free(c->value);
    free(c->rank);
}

static bool is_named(const struct target_config *config, const char *name) {
    size_t length = strlen(name);
    for (int i = 0; i < config->nranks; i++)
        if (!strncmp(config->ranks[i], name, length) && config->ranks[i][length] == ' ' &&
            !strchr(config->ranks[i] + length + 1, ' '))
            return true;
    return false;
}

/* The outputs of a node's last operation with weights: before its activation. */
static int weighted_value(const struct model *m, int node) {
    for (int i = m->ops->nops - 1; i >= 0; i--)
        if (m->ops->op[i].node == node && m->ops->op[i].param[0] >= 0) return m->ops->op[i].out;
    return -1;
}

static status find(const struct ranks_task *t, struct candidates *c) {
    const struct graph *g = t->source->graph;
    size_t nodes = (size_t)g->nnodes + 1;
    if (!t->calibration->total)
        return status_fail(STATUS_USAGE, "target.rank_energy is measured on calibration samples; raise "
                                         "refit.samples, or give target.rank or target.ranks");
    c->layer = calloc(nodes, sizeof *c->layer);
    c->value = calloc(nodes, sizeof *c->value);
    c->rank = calloc(nodes, sizeof *c->rank);
    if (!c->layer || !c->value || !c->rank) return status_no_memory("ranks", nodes * sizeof *c->rank);
    for (int i = 0; i < g->nnodes; i++) { /* in the order of the operations */
        const struct layer *layer = &g->layer[g->node[i].layer];
        int64_t rows, columns;
        int calls = 0, value = weighted_value(t->source, i);
        for (int k = 0; k < g->nnodes; k++) calls += g->node[k].layer == g->node[i].layer;
        if (value < 0 || calls != 1 || !skeleton_factors(layer, &rows, &columns) ||
            is_named(t->config, layer->name))
            continue;
        c->layer[c->n] = g->node[i].layer;
        c->value[c->n++] = value;
    }
    return SUCCESS;
}

static status add(struct target_config *config, const char *name, int64_t rank) {
    char *text = NULL, **ranks = realloc(config->ranks, ((size_t)config->nranks + 1) * sizeof *ranks);
    if (ranks) config->ranks = ranks;
    if (!ranks || asprintf(&text, "%s %" PRId64, name, rank) < 0)
        return status_no_memory("ranks", (size_t)config->nranks * sizeof *ranks);
    config->ranks[config->nranks++] = text;
    return SUCCESS;
}

static status report(const struct ranks_task *t, const struct candidates *c) {
    int factored = 0;
    for (int i = 0; i < c->n; i++) {
        const struct layer *layer = &t->source->graph->layer[c->layer[i]];
        int64_t rows, columns;
        if (!skeleton_factors(layer, &rows, &columns)) continue;
        bool smaller = c->rank[i] <= rows && c->rank[i] * (rows + columns) < rows * columns;
        log_line(t->machine->log, LOG_DEBUG,
                 "\"%s\": %" PRId64 " of %" PRId64 " directions hold the variance%s", layer->name, c->rank[i],
                 rows < columns ? rows : columns, smaller ? "" : "; it would not get smaller");
        if (!smaller) continue;
        STATUS_TRY(add(t->config, layer->name, c->rank[i]));
        factored++;
    }
    log_line(t->machine->log, LOG_INFO,
             "%d of %d layers become products of two that keep %.4g of the variance", factored, c->n,
             t->config->rank_energy);
    t->config->rank_energy = 0;
    return SUCCESS;
}

status ranks_choose(const struct ranks_task *t) {
    struct candidates c = {0};
    status error = comm_agree(t->machine->world, find(t, &c));
    if (!error)
        error = energy_ranks(t->machine, t->source->ops, t->source->params, t->calibration,
                             t->config->rank_energy, c.n, c.value, c.rank);
    if (!error) error = comm_agree(t->machine->world, report(t, &c));
    candidates_free(&c);
    return error;
}

/* A migration once more, after the source has changed: what depends on the changes. */
#include "coordinator/main_memory.h"
#include "coordinator/main_phases.h"

#include "shared/dependence.h"

#include <stdlib.h>
#include <string.h>

/* What a change of the source's parameters makes stale. */
struct staleness {
    bool *whole, *plan;    /* [statements of these programs] */
    bool *source, *target; /* [nodes of the folded source, of the target]: they compute something else */
    bool *near;            /* [nodes of the target]: one that reads them next, with weights, is stale */
    signed char *due;      /* [statements of the plan]: see struct refit */
};

static void staleness_free(struct staleness *s) {
    free(s->whole);
    free(s->plan);
    free(s->source);
    free(s->target);
    free(s->near);
    free(s->due);
}

static status staleness_alloc(const struct compiled *c, struct staleness *s) {
    s->whole = calloc((size_t)c->whole->nstatements + 1, sizeof *s->whole);
    s->plan = calloc((size_t)c->plan->nstatements + 1, sizeof *s->plan);
    s->source = calloc((size_t)c->fold->graph->nnodes + 1, sizeof *s->source);
    s->target = calloc((size_t)c->target->nnodes + 1, sizeof *s->target);
    s->near = calloc((size_t)c->target->nnodes + 1, sizeof *s->near);
    s->due = calloc((size_t)c->plan->nstatements + 1, sizeof *s->due);
    bool whole = s->whole && s->plan && s->source && s->target && s->near && s->due;
    return whole ? SUCCESS : status_no_memory("an update", (size_t)c->target->nnodes);
}

static void mark_nodes(const struct plan *plan, const bool *statements, const struct graph *graph,
                       bool *nodes) {
    for (int i = 0; i < plan->nstatements; i++)
        for (int n = 0; n < graph->nnodes && statements[i]; n++)
            nodes[n] = nodes[n] || graph->node[n].layer == plan->statement[i].layer;
}

static void find_near(const struct graph *g, const bool *stale, bool *near) {
    for (int i = g->nnodes - 1; i >= 0; i--) {
        const struct node *n = &g->node[i];
        bool weighted = g->layer[n->layer].nweights > 0;
        for (int k = 0; k < n->nin; k++) {
            bool *before = &near[n->in[k].node];
            *before = *before || (weighted ? stale[i] : near[i] || stale[i]);
        }
    }
}

/* A layer is fitted again if what it computes is to be other than it was; in the sweeps also if that of the
 * next layers is, towards whose outputs it is fitted there. */
static void find_due(const struct compiled *c, struct staleness *s) {
    const struct plan *plan = c->plan;
    for (int i = 0; i < plan->nstatements; i++) {
        bool stale = false, near = false;
        for (int n = 0; n < c->target->nnodes; n++) {
            if (c->target->node[n].layer != plan->statement[i].layer) continue;
            stale = stale || s->target[n];
            near = near || s->near[n];
        }
        s->due[i] = stale ? 0 : near ? 1 : -1;
    }
}

static status find_stale(const struct compiled *c, const bool *changed, struct staleness *s) {
    STATUS_TRY(staleness_alloc(c, s));
    dependence_statements(c->whole, changed, s->whole);
    dependence_statements(c->plan, changed, s->plan);
    mark_nodes(c->whole, s->whole, c->fold->graph, s->source);
    dependence_nodes(c->fold->graph, s->source);
    mark_nodes(c->plan, s->plan, c->target, s->target);
    for (int n = 0; n < c->target->nnodes; n++) {
        int origin = c->skeleton->origin[n], twin = c->skeleton->twin[n];
        s->target[n] = s->target[n] || (origin >= 0 && s->source[origin]) || (twin >= 0 && s->source[twin]);
    }
    dependence_nodes(c->target, s->target);
    find_near(c->target, s->target, s->near);
    find_due(c, s);
    return SUCCESS;
}

static void say_stale(const struct migration_run *m, const struct staleness *s) {
    int migrated = 0, fitted = 0, n = m->compiled->plan->nstatements;
    for (int i = 0; i < n; i++) {
        migrated += s->plan[i];
        fitted += s->due[i] >= 0 && plan_is_refit(&m->compiled->plan->statement[i]);
    }
    log_line(m->job.session->log, LOG_INFO, "of %d statements %d are migrated again, %d fitted again", n,
             migrated, m->job.config->refit.samples > 0 ? fitted : 0);
}

status memory_update(struct migration_run *m, const bool *changed) {
    const struct config *c = m->job.config;
    struct staleness s = {0};
    status error = comm_agree(m->job.session->world, find_stale(m->compiled, changed, &s));
    migration_phase(m, "migrate");
    if (!error) say_stale(m, &s);
    if (!error) error = memory_execute(m, m->compiled->whole, s.whole, m->source->params);
    if (!error) memcpy(m->target->params->data, m->base->data, (size_t)m->base->total * sizeof(float));
    if (!error) error = memory_execute(m, m->compiled->plan, s.plan, m->target->params);
    if (!error && c->refit.samples > 0) {
        migration_phase(m, "refit");
        error = memory_refit(m, s.due);
    }
    staleness_free(&s);
    return error ? error : memory_complete(m);
}

#include "shared/dependence.h"

#include "shared/transform.h"

static bool layer_changed(const struct graph *source, int layer, const bool *changed) {
    int first = graph_first_param(source, layer);
    for (int w = 0; w < source->layer[layer].nweights; w++)
        if (changed[first + w]) return true;
    return false;
}

static bool reads_changed(const struct plan *plan, const struct expr *expr, const bool *changed) {
    for (int i = 0; i < expr->transform->noperands; i++) {
        const struct operand *o = &expr->operand[i];
        if (!o->present) continue;
        enum operand_type type = expr->transform->operand[i].type;
        if (type == OPERAND_LAYER && layer_changed(plan->source, (int)o->u.i, changed)) return true;
        if (type == OPERAND_TENSOR &&
            changed[graph_first_param(plan->source, o->u.tensor.layer) + o->u.tensor.weight])
            return true;
    }
    for (int i = 0; i < expr->nargs; i++)
        if (reads_changed(plan, expr->arg[i], changed)) return true;
    return false;
}

void dependence_statements(const struct plan *plan, const bool *changed, bool *stale) {
    for (int i = 0; i < plan->nstatements; i++)
        stale[i] = reads_changed(plan, plan->statement[i].value, changed);
}

void dependence_nodes(const struct graph *graph, bool *stale) {
    for (int i = 0; i < graph->nnodes; i++)
        for (int k = 0; k < graph->node[i].nin; k++) stale[i] = stale[i] || stale[graph->node[i].in[k].node];
}

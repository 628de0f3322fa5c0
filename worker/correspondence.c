#include "worker/correspondence.h"

/* The last operation of a node before operation `end`; -1 if there is none. */
static int operation_before(const struct opgraph *ops, int node, int end) {
    int i = end - 1;
    while (i >= 0 && ops->op[i].node != node) i--;
    return i;
}

static void same_operations(const struct model *target, const struct model *source, int node, int origin,
                            int *source_value) {
    const struct opgraph *to = target->ops, *from = source->ops;
    source_value[target->value_of[node]] = source->value_of[origin];
    int a = operation_before(to, node, to->nops), b = operation_before(from, origin, from->nops);
    while (a >= 0 && b >= 0 && to->op[a].kind == from->op[b].kind) {
        source_value[to->op[a].out] = from->op[b].out;
        a = operation_before(to, node, a);
        b = operation_before(from, origin, b);
    }
}

/* The last operation of a node that has weights; -1 if there is none. */
static int weighted_operation(const struct opgraph *ops, int node) {
    int i = operation_before(ops, node, ops->nops);
    while (i >= 0 && ops->op[i].param[0] < 0) i = operation_before(ops, node, i);
    return i;
}

/* All axes but the last. */
static bool same_positions(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank - 1; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

void correspond(const struct model *target, const struct model *source, const int *origin, const int *twin,
                int *source_value) {
    const struct opgraph *to = target->ops, *from = source->ops;
    for (int v = 0; v < to->nvalues; v++) source_value[v] = -1;
    for (int node = 0; node < target->graph->nnodes; node++) {
        if (origin[node] >= 0) same_operations(target, source, node, origin[node], source_value);
        int a = weighted_operation(to, node), b = twin[node] < 0 ? -1 : weighted_operation(from, twin[node]);
        if (a < 0 || b < 0 || source_value[to->op[a].out] >= 0) continue;
        if (to->op[a].kind == from->op[b].kind &&
            same_positions(&to->value[to->op[a].out], &from->value[from->op[b].out]))
            source_value[to->op[a].out] = from->op[b].out;
    }
}

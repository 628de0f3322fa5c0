#include "worker/correspondence.h"

/* The last operation of a node before operation `end`; -1 if there is none. */
static int operation_before(const struct opgraph *ops, int node, int end) {
    int i = end - 1;
    while (i >= 0 && ops->op[i].node != node) i--;
    return i;
}

void correspond(const struct model *target, const struct model *source, const int *origin,
                int *source_value) {
    const struct opgraph *to = target->ops, *from = source->ops;
    for (int v = 0; v < to->nvalues; v++) source_value[v] = -1;
    for (int node = 0; node < target->graph->nnodes; node++) {
        if (origin[node] < 0) continue;
        source_value[target->value_of[node]] = source->value_of[origin[node]];
        int a = operation_before(to, node, to->nops), b = operation_before(from, origin[node], from->nops);
        while (a >= 0 && b >= 0 && to->op[a].kind == from->op[b].kind) {
            source_value[to->op[a].out] = from->op[b].out;
            a = operation_before(to, node, a);
            b = operation_before(from, origin[node], b);
        }
    }
}

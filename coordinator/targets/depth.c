/* Depth: residual blocks left out, by the names of the Adds that end them: "depth": ["add_3"]. An Add whose
 * one input is computed from the other gives that other one instead; what was between is gone. */
#include "coordinator/target_kind.h"

#include <stdlib.h>
#include <string.h>

/* Is node `a` among what node `b` is computed from? */
static bool comes_before(const struct graph *g, int a, int b, bool *seen) {
    if (a == b) return true;
    if (b < a || seen[b]) return false;
    seen[b] = true;
    for (int k = 0; k < g->node[b].nin; k++)
        if (comes_before(g, a, g->node[b].in[k].node, seen)) return true;
    return false;
}

/* The input of an Add that is its block's; -1: it ends no block that can be left out. */
static int shortcut(const struct graph *g, int node, bool *seen) {
    const struct node *n = &g->node[node];
    if (g->layer[n->layer].kind != layer_kind_find("Add") || n->nin != 2) return -1;
    for (int k = 0; k < 2; k++) {
        memset(seen, 0, (size_t)g->nnodes);
        int from = n->in[k].node, other = n->in[1 - k].node;
        if (from != other && shape_equal(&g->node[from].out[n->in[k].slot], &n->out[0]) &&
            comes_before(g, from, other, seen))
            return k;
    }
    return -1;
}

/* The Adds that can be named, for the message. */
static status no_block(const struct graph *g, const char *name, bool *seen) {
    char text[256] = "";
    for (int i = 0; i < g->nnodes; i++) {
        const char *candidate = g->layer[g->node[i].layer].name;
        if (shortcut(g, i, seen) < 0 || strlen(text) + strlen(candidate) + 8 > sizeof text) continue;
        if (*text) strcat(text, ", ");
        strcat(text, candidate);
    }
    return status_fail(STATUS_USAGE,
                       "target.depth: \"%.80s\" ends no residual block that can be left out%s%s", name,
                       *text ? "; these do: " : "; the model has none", text);
}

static status edit(const struct target_config *config, const struct graph *folded, struct edit *edit) {
    status error = SUCCESS;
    bool *seen = calloc((size_t)folded->nnodes + 1, sizeof *seen);
    if (!seen) return status_no_memory("residual blocks", (size_t)folded->nnodes);
    for (int i = 0; i < config->ndepth && !error; i++) {
        int layer = graph_find_layer(folded, config->depth[i]),
            node = layer < 0 ? -1 : graph_layer_node(folded, layer);
        int input = node < 0 ? -1 : shortcut(folded, node, seen);
        if (input < 0) error = no_block(folded, config->depth[i], seen);
        else edit[node] = (struct edit){.kind = EDIT_BYPASS, .input = input};
    }
    free(seen);
    return error;
}

const struct target_kind target_depth = {.edit = edit};

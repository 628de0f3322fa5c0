#include "coordinator/blocks.h"

#include <math.h>
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

status blocks_find(const struct graph *g, int *n, struct block **block) {
    bool *seen = calloc((size_t)g->nnodes + 1, sizeof *seen);
    *n = 0;
    *block = calloc((size_t)g->nnodes + 1, sizeof **block);
    if (!seen || !*block) {
        free(seen);
        free(*block);
        *block = NULL;
        return status_no_memory("residual blocks", (size_t)g->nnodes * sizeof **block);
    }
    for (int i = 0; i < g->nnodes; i++) {
        int input = shortcut(g, i, seen);
        if (input >= 0) (*block)[(*n)++] = (struct block){.node = i, .input = input};
    }
    free(seen);
    return SUCCESS;
}

bool block_is_named(const struct target_config *config, const struct graph *graph,
                    const struct block *block) {
    const char *name = graph->layer[graph->node[block->node].layer].name;
    for (int i = 0; i < config->ndepth; i++)
        if (!strcmp(config->depth[i], name)) return true;
    return false;
}

status blocks_wanted(const struct target_config *config, const struct graph *folded, int *wanted, int *of) {
    double asked = config->blocks_removed;
    int n = 0;
    struct block *block = NULL;
    STATUS_TRY(blocks_find(folded, &n, &block));
    *of = 0;
    for (int i = 0; i < n; i++) *of += !block_is_named(config, folded, &block[i]);
    free(block);
    *wanted = asked < 1 ? (int)lround(asked * *of) : (int)asked;
    if (*wanted < 1) *wanted = 1;
    if (asked > 1 && asked != floor(asked))
        return status_fail(
            STATUS_USAGE,
            "target.blocks_removed is %g; it is a whole number of blocks, or below 1 a fraction", asked);
    if (asked > *of)
        return status_fail(
            STATUS_USAGE,
            "target.blocks_removed is %g, but the model has %d residual blocks that can be left "
            "out%s",
            asked, *of, config->ndepth ? " besides those of target.depth" : "");
    return SUCCESS;
}

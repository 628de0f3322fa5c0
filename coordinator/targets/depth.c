/* Depth: residual blocks left out, by the names of the Adds that end them: "depth": ["add_3"]. How many more
 * are to be left out ("blocks_removed") is checked here; which ones is measured (main_blocks.h), and then
 * they are named, too. */
#include "coordinator/blocks.h"
#include "coordinator/target_kind.h"

#include <stdlib.h>
#include <string.h>

/* The Adds that can be named, for the message. */
static status no_block(const struct graph *g, const char *name, int n, const struct block *block) {
    char text[256] = "";
    for (int i = 0; i < n; i++) {
        const char *candidate = g->layer[g->node[block[i].node].layer].name;
        if (strlen(text) + strlen(candidate) + 8 > sizeof text) continue;
        if (*text) strcat(text, ", ");
        strcat(text, candidate);
    }
    return status_fail(
        STATUS_USAGE,
        "target.depth, or bypass in a program: \"%.80s\" ends no residual block that can be left out%s%s",
        name, *text ? "; these do: " : "; the model has none", text);
}

static status mark_named(const struct target_config *config, const struct graph *folded, int n,
                         const struct block *block, struct edit *edit) {
    for (int i = 0; i < config->ndepth; i++) {
        int layer = graph_find_layer(folded, config->depth[i]),
            node = layer < 0 ? -1 : graph_layer_node(folded, layer), at = 0;
        while (at < n && block[at].node != node) at++;
        if (at == n) return no_block(folded, config->depth[i], n, block);
        edit[node] = (struct edit){.kind = EDIT_BYPASS, .input = block[at].input};
    }
    return SUCCESS;
}

static status edit(const struct target_config *config, const struct graph *folded, struct edit *edit) {
    int n = 0, wanted, of;
    struct block *block = NULL;
    if (config->blocks_removed > 0) STATUS_TRY(blocks_wanted(config, folded, &wanted, &of));
    if (!config->ndepth) return SUCCESS;
    STATUS_TRY(blocks_find(folded, &n, &block));
    status error = mark_named(config, folded, n, block, edit);
    free(block);
    return error;
}

const struct target_kind target_depth = {.edit = edit};

/* Rank: kernels of Dense and plain convolutions as products of two, where that has fewer parameters: a factor
 * on the rank of the kernel as a matrix of window times input channels by output channels. */
#include "coordinator/target_kind.h"

#include <math.h>

static int calls(const struct graph *g, int layer) {
    int n = 0;
    for (int i = 0; i < g->nnodes; i++) n += g->node[i].layer == layer;
    return n;
}

static status edit(const struct target_config *config, const struct graph *folded, struct edit *edit) {
    if (config->rank <= 0 || config->rank >= 1) return SUCCESS;
    for (int i = 0; i < folded->nnodes; i++) {
        int64_t rows, columns;
        const struct layer *layer = &folded->layer[folded->node[i].layer];
        if (!skeleton_factors(layer, &rows, &columns) || calls(folded, folded->node[i].layer) != 1) continue;
        int64_t rank = llround(config->rank * (double)(rows < columns ? rows : columns));
        if (rank < 1) rank = 1;
        if (rank * (rows + columns) >= rows * columns || edit[i].kind != EDIT_KEEP) continue;
        edit[i] = (struct edit){.kind = EDIT_FACTOR, .width = rank};
    }
    return SUCCESS;
}

const struct target_kind target_rank = {.edit = edit};

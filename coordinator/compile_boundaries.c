/* Where the target can be cut in slices. */
#include "coordinator/compile_parts.h"

#include <stdlib.h>

/* Are the channels of the node's output known: all kept, or chosen? */
static bool is_known(const struct compiled *c, int node, int64_t *const *chosen) {
    int width;
    const struct channel *channel = compile_channels(c, node, false, &width);
    for (int i = 0; i < width; i++) {
        int g = channel[i].group;
        if (c->kept[g] < channel_map_width(c->map, g) && !chosen[g]) return false;
    }
    return true;
}

static int64_t channels_of(const struct graph *graph, int node) {
    const struct shape *out = &graph->node[node].out[0];
    return out->rank > 1 ? out->dim[out->rank - 1] : 0;
}

static status add(const struct compiled *c, int node, int64_t *const *chosen, int *n,
                  struct compiled_boundary *boundary) {
    int origin = c->skeleton->origin[node], width;
    compile_channels(c, node, false, &width);
    if (origin < 0 || !is_known(c, node, chosen) || channels_of(c->fold->graph, origin) != width)
        return SUCCESS;
    int64_t kept = compile_positions(c, c->kept, node, false, chosen, NULL);
    if (kept != channels_of(c->target, node)) return SUCCESS;
    struct compiled_boundary *b = &boundary[(*n)++];
    *b = (struct compiled_boundary){.source = origin, .target = node};
    if (kept == width) return SUCCESS;
    b->column = malloc((size_t)width * sizeof *b->column);
    if (!b->column) return status_no_memory("channels", (size_t)width * sizeof *b->column);
    compile_positions(c, c->kept, node, false, chosen, b->column);
    return SUCCESS;
}

status compile_boundaries(const struct compiled *c, int *n, struct compiled_boundary **boundary) {
    int groups = channel_map_groups(c->map);
    int64_t **chosen = calloc((size_t)groups + 1, sizeof *chosen);
    *n = 0;
    *boundary = calloc((size_t)c->plan->nslices + 1, sizeof **boundary);
    status error = chosen && *boundary ? SUCCESS : status_no_memory("slices", (size_t)groups);
    if (!error) error = compile_chosen(c, chosen);
    for (int i = 0; i + 1 < c->plan->nslices && !error; i++)
        error = add(c, c->plan->slice_node[i], chosen, n, *boundary);
    for (int g = 0; g < groups && chosen; g++) free(chosen[g]);
    free(chosen);
    return error;
}

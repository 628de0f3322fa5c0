/* Keep lists: which positions of a layer's output, or of the channels inside it, the target has. */
#include "coordinator/compile_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct channel *compile_channels(const struct compiled *c, int node, bool inner, int *width) {
    return inner ? channel_map_inner(c->map, node, width) : channel_map_of(c->map, node, width);
}

/* Positions of a node's output, or of the channels inside it, that stay when the classes chosen[group] stay;
 * NULL for a group: the first kept[group]. `index` may be NULL, else has room for the node's width. */
int64_t compile_positions(const struct compiled *c, const int *kept, int node, bool inner,
                          int64_t *const *chosen, int64_t *index) {
    int width;
    const struct channel *channel = compile_channels(c, node, inner, &width);
    int64_t n = 0;
    for (int i = 0; i < width; i++) {
        int g = channel[i].group;
        bool stays = kept[g] == channel_map_width(c->map, g);
        if (!stays && (!chosen || !chosen[g])) stays = channel[i].index < kept[g];
        for (int j = 0; !stays && chosen && chosen[g] && j < kept[g]; j++)
            stays = chosen[g][j] == channel[i].index;
        if (!stays) continue;
        if (index) index[n] = i;
        n++;
    }
    return n;
}

static bool is_list_of(const struct compiled *c, const struct keep *k, int node, bool inner, int group) {
    if (k->node == node && k->inner == inner) return true;
    return k->selected && group >= 0 && channel_map_whole(c->map, k->node, k->inner) == group;
}

/* The list of what stays of a node's output, each position repeated; made at first use. -1: everything stays.
 */
status compile_keep_of(struct compiled *c, struct plan *plan, int node, bool inner, int repeat, int *index) {
    int width, group = channel_map_whole(c->map, node, inner);
    compile_channels(c, node, inner, &width);
    int64_t n = compile_positions(c, c->kept, node, inner, NULL, NULL);
    *index = -1;
    if (n == width) return SUCCESS;
    for (int i = 0; i < plan->nkeeps; i++) {
        const struct keep *k = &plan->keep[i];
        if (k->repeat == repeat && is_list_of(c, k, node, inner, group)) {
            *index = i;
            return SUCCESS;
        }
    }
    struct keep keep = {.selected = group >= 0,
                        .inner = inner,
                        .node = node,
                        .repeat = repeat,
                        .n = n * repeat,
                        .of = (int64_t)width * repeat};
    if (asprintf(&keep.name, "k%d", plan->nkeeps) < 0) return status_no_memory("a name", 16);
    status error = plan_add_keep(plan, &keep, index);
    if (error) free(keep.name);
    return error;
}

/* The positions that a list has when these classes are chosen; owned by the caller, on failure too. */
static status list_positions(const struct compiled *c, const struct keep *k, int64_t *const *chosen,
                             int64_t **index) {
    int width;
    compile_channels(c, k->node, k->inner, &width);
    *index = malloc(((size_t)width * (size_t)k->repeat + 1) * sizeof **index);
    if (!*index) return status_no_memory("a keep list", (size_t)width * sizeof **index);
    int64_t n = compile_positions(c, c->kept, k->node, k->inner, chosen, *index);
    if (n * k->repeat != k->n)
        return status_fail(STATUS_UNSUPPORTED,
                           "the choice of channels leaves %lld of \"%s\" instead of %lld: its channels "
                           "are coupled unevenly",
                           (long long)(n * k->repeat), c->target->layer[c->target->node[k->node].layer].name,
                           (long long)k->n);
    for (int64_t j = n - 1; j >= 0; j--)
        for (int r = k->repeat - 1; r >= 0; r--) (*index)[j * k->repeat + r] = (*index)[j] * k->repeat + r;
    return SUCCESS;
}

status compile_choose(struct compiled *c, int64_t *const *chosen) {
    for (int i = 0; i < c->plan->nkeeps; i++) {
        struct keep *k = &c->plan->keep[i];
        int64_t *index = NULL;
        status error = list_positions(c, k, chosen, &index);
        if (!error && k->given && memcmp(index, k->index, (size_t)k->n * sizeof *index) != 0)
            error =
                status_fail(STATUS_DATA,
                            "keep list %s has other positions of \"%s\" than the channels selected elsewhere "
                            "leave; take its positions out to have them worked out",
                            k->name, c->target->layer[c->target->node[k->node].layer].name);
        if (error) {
            free(index);
            return error;
        }
        free(k->index);
        k->index = index;
    }
    return SUCCESS;
}

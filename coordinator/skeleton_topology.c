/* The skeleton of a target whose graph is given: that graph, its layers as wide as the source's that they
 * stand for, so that what the graph is narrower by is a choice of the source's channels. Layers that cannot
 * be as wide (they are wider, or tied to others whose layers have another width in the source) keep their
 * width: their channels are projections of the source's. */
#include "coordinator/skeleton.h"

#include "coordinator/topology_match.h"
#include "shared/channels.h"

#include <stdlib.h>
#include <string.h>

struct widening {
    struct skeleton *s;
    const struct graph *given, *source;
    struct channel_map *map; /* of the given graph */
    struct channel_map *source_map;
    int64_t *width; /* [groups] of the source's channels; 0: nothing says so; -1: it stays */
};

static int64_t width_of(const struct graph *g, int node) {
    const struct shape *out = &g->node[node].out[0];
    return out->rank > 0 ? out->dim[out->rank - 1] : 0;
}

/* Does the layer itself say how many channels it has? */
static bool makes_channels(const struct layer *layer) {
    bool fitted = layer->kind->affine || layer->kind->fitted;
    return fitted && layer->kind->set_width && layer->nweights > 0;
}

static void agree_on_width(struct widening *w, int node) {
    const struct layer *layer = &w->given->layer[w->given->node[node].layer];
    int n, twin = w->s->twin[node], whole = channel_map_whole(w->map, node, false);
    const struct channel *channel = channel_map_of(w->map, node, &n);
    int64_t wide = twin < 0 ? 0 : width_of(w->source, twin);
    for (int i = 0; i < n; i++) {
        int64_t *width = &w->width[channel[i].group];
        bool narrows = wide >= n && whole >= 0 && !channel_map_fixed(w->map, channel[i].group);
        bool follows = wide == n || (narrows && (*width == 0 || *width == wide));
        if (!makes_channels(layer) || *width < 0 || (twin < 0 && whole >= 0)) continue;
        *width = follows ? wide : -1;
    }
}

/* Of a layer of the same kind that has more channels inside, such as heads, the target has some. */
static status widen_inside(const struct widening *w, int node, struct layer *layer) {
    const struct graph *source = w->source;
    int twin = w->s->twin[node], few, all;
    if (twin < 0 || !layer->kind->set_inner) return SUCCESS;
    channel_map_inner(w->map, node, &few);
    channel_map_inner(w->source_map, twin, &all);
    bool more = source->layer[source->node[twin].layer].kind == layer->kind && all > few && few > 0;
    return more ? layer->kind->set_inner(layer, all) : SUCCESS;
}

static status widen_layers(struct widening *w, struct graph *wide) {
    for (int i = 0; i < wide->nnodes; i++) {
        struct layer *layer = &wide->layer[wide->node[i].layer];
        int group =
            layer->kind->set_width ? channel_map_whole(w->map, i, false) : -1; /* a Reshape follows too */
        if (group >= 0 && w->width[group] > width_of(w->given, i))
            STATUS_TRY(layer->kind->set_width(layer, w->width[group]));
        STATUS_TRY(widen_inside(w, i, layer));
    }
    return graph_infer(wide);
}

/* Where the wide graph cannot be, the given one is taken as it is. */
static status widen(struct widening *w) {
    size_t groups = (size_t)channel_map_groups(w->map) + 1;
    w->width = calloc(groups, sizeof *w->width);
    if (!w->width) return status_no_memory("widths", groups * sizeof *w->width);
    for (int i = 0; i < w->given->nnodes; i++) agree_on_width(w, i);
    STATUS_TRY(graph_clone(w->given, &w->s->graph));
    status error = widen_layers(w, w->s->graph);
    if (!error || status_code(error) == STATUS_MEMORY) return error;
    status_drop(&error);
    graph_destroy(&w->s->graph);
    return graph_clone(w->given, &w->s->graph);
}

/* ---- parts ---- */

static const struct weight *weight_named(const struct layer *layer, const char *name) {
    for (int i = 0; i < layer->nweights; i++)
        if (!strcmp(layer->weight[i].name, name)) return &layer->weight[i];
    return NULL;
}

/* Has the source's layer all weights of the other, in their shapes? A bias that it lacks is zero. */
static bool has_weights(const struct layer *layer, const struct layer *source) {
    for (int i = 0; i < layer->nweights; i++) {
        const struct weight *w = weight_named(source, layer->weight[i].name);
        if (!w && !strcmp(layer->weight[i].name, "bias")) continue;
        if (!w || !shape_equal(&w->shape, &layer->weight[i].shape)) return false;
    }
    return layer->kind == source->kind;
}

/* Is it the separable form of the source's convolution, which has a window and channels like its own? */
static bool is_separable_of(const struct layer *layer, const struct layer *source) {
    if (skeleton_separable(source) != layer->kind || !layer->nweights) return false;
    const struct shape *kernel = &source->weight[0].shape, *depthwise = &layer->weight[0].shape;
    int64_t window = 1;
    for (int i = 0; i < kernel->rank - 2; i++) window *= kernel->dim[i];
    for (int i = 0; i < kernel->rank - 1; i++)
        if (kernel->dim[i] != depthwise->dim[i]) return false;
    return depthwise->dim[depthwise->rank - 1] <= window;
}

/* Stands a layer before it for the same one of the source? */
static bool is_repeated(const struct skeleton *s, int node) {
    for (int i = 0; i < node; i++)
        if (s->twin[i] == s->twin[node] && s->graph->node[i].layer != s->graph->node[node].layer) return true;
    return false;
}

static enum skeleton_part part_of(const struct skeleton *s, int node, int twin) {
    const struct graph *source = s->fold->graph;
    const struct layer *layer = &s->graph->layer[s->graph->node[node].layer];
    const struct layer *from = twin < 0 ? NULL : &source->layer[source->node[twin].layer];
    bool wide = from && width_of(s->graph, node) == width_of(source, twin);
    bool first = from && !is_repeated(s, node);
    if (wide && first && has_weights(layer, from)) return PART_WHOLE;
    if (wide && first && is_separable_of(layer, from)) return PART_SEPARABLE;
    if (from && !wide && layer->kind->affine && makes_channels(layer)) return PART_PROJECTED;
    if (wide && !first && layer->kind->affine) return PART_REPEATED;
    return layer->kind->affine ? PART_FITTED : PART_NEW;
}

static void find_parts(struct skeleton *s) {
    const struct graph *source = s->fold->graph;
    bool seen;
    for (int l = 0; l < s->graph->nlayers; l++) {
        seen = false;
        s->folded_layer[l] = -1;
        for (int i = 0; i < s->graph->nnodes; i++) {
            if (s->graph->node[i].layer != l) continue;
            int layer = s->twin[i] < 0 ? -1 : source->node[s->twin[i]].layer;
            if (seen && layer != s->folded_layer[l])
                s->twin[i] = -1; /* it is called for something else too */
            if (seen) continue;
            seen = true;
            s->folded_layer[l] = layer;
            s->part[l] = part_of(s, i, s->twin[i]);
            if (s->part[l] == PART_SEPARABLE)
                s->rank[l] =
                    s->graph->layer[l].weight[0].shape.dim[s->graph->layer[l].weight[0].shape.rank - 1];
        }
    }
}

/* Of tensors that have not the source's channels the source has none, and of what a new layer gives. */
static void forget_others(struct skeleton *s) {
    const struct graph *source = s->fold->graph;
    for (int i = 0; i < s->graph->nnodes; i++) {
        int layer = s->graph->node[i].layer, *twin = &s->twin[i], *origin = &s->origin[i];
        bool fresh = s->part[layer] == PART_NEW && s->graph->layer[layer].nweights;
        bool other = *twin >= 0 && width_of(s->graph, i) != width_of(source, *twin);
        if (fresh || (other && s->part[layer] != PART_PROJECTED)) *twin = -1;
        if (fresh || (*origin >= 0 && width_of(s->graph, i) != width_of(source, *origin))) *origin = -1;
    }
}

status skeleton_of_topology(const struct fold *fold, const struct graph *topology,
                            struct skeleton **skeleton) {
    struct skeleton *s = NULL;
    struct fold *folded = NULL;
    struct widening w = {.source = fold->graph};
    STATUS_TRY(fold_create(topology, &folded));
    w.given = folded->graph;
    status error = skeleton_alloc(fold, w.given->nlayers, w.given->nnodes, &s);
    if (!error) {
        w.s = s;
        s->edited = true;
        error = memory_alloc("widths", (size_t)w.given->nnodes + 1, sizeof *s->given, (void **)&s->given);
    }
    if (!error) error = topology_match(w.given, fold->graph, s->origin, s->twin);
    if (!error)
        error =
            memory_alloc("widths", (size_t)w.given->nnodes + 1, sizeof *s->given, (void **)&s->given_inner);
    if (!error) error = channel_map_create(w.given, &w.map);
    if (!error) error = channel_map_create(w.source, &w.source_map);
    if (!error) error = widen(&w);
    if (!error) error = topology_follow(s->graph, fold->graph, s->origin);
    if (!error) {
        for (int i = 0; i < w.given->nnodes; i++) {
            int inner;
            channel_map_inner(w.map, i, &inner);
            s->given[i] = width_of(w.given, i);
            s->given_inner[i] = inner;
        }
        find_parts(s);
        forget_others(s);
    }
    channel_map_destroy(&w.map);
    channel_map_destroy(&w.source_map);
    fold_destroy(&folded);
    free(w.width);
    if (error) skeleton_destroy(&s);
    *skeleton = s;
    return error;
}

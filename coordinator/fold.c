#include "coordinator/fold.h"

#include <stdlib.h>
#include <string.h>

static int count_calls(const struct graph *g, int layer) {
    int n = 0;
    for (int i = 0; i < g->nnodes; i++) n += g->node[i].layer == layer;
    return n;
}

/* The axis of the channels that the layer makes; its rank is that of its output. */
static int channel_axis(const struct layer *l, int rank) {
    bool first =
        layer_has_attr(l, "data_format") && !strcmp(layer_string(l, "data_format"), "channels_first");
    return first ? 1 : rank - 1;
}

/* Can this node's layer take a batch norm over that axis, which follows it, into its weights? */
static bool takes_norm(const struct graph *g, int node, int axis) {
    const struct layer *l = &g->layer[g->node[node].layer];
    if (!l->kind->affine) return false;
    const struct attr *activation = layer_attr(l, "activation");
    return (!activation->present || !strcmp(activation->u.s, "linear")) &&
           axis == channel_axis(l, g->node[node].out[0].rank) && count_calls(g, g->node[node].layer) == 1 &&
           graph_only_reader(g, node) >= 0;
}

/* Is the node a batch norm; over which axis? */
static bool is_norm(const struct graph *g, int node, int *axis) {
    const struct layer *l = &g->layer[g->node[node].layer];
    int rank = g->node[node].out[0].rank;
    if (l->kind != layer_kind_find("BatchNormalization")) return false;
    *axis = (int)layer_int(l, "axis");
    if (*axis < 0) *axis += rank;
    return true;
}

void fold_destroy(struct fold **fold) {
    if (!*fold) return;
    graph_destroy(&(*fold)->graph);
    free((*fold)->source_layer);
    free((*fold)->norm_layer);
    free(*fold);
    *fold = NULL;
}

/* Which nodes are foldable batch norms; marks norm_of[source layer that takes it] = norm's layer. */
static void find_foldable(const struct graph *g, bool *folded_node, int *norm_of) {
    for (int i = 0; i < g->nnodes; i++) {
        int axis;
        if (!is_norm(g, i, &axis) || count_calls(g, g->node[i].layer) != 1) continue;
        int before = g->node[i].in[0].node;
        if (!takes_norm(g, before, axis)) continue;
        folded_node[i] = true;
        norm_of[g->node[before].layer] = g->node[i].layer;
    }
}

static status copy_layers(const struct graph *g, const bool *dropped, const int *norm_of, struct fold *f,
                          int *new_layer) {
    for (int i = 0; i < g->nlayers; i++) {
        if (dropped[i]) continue;
        struct layer copy;
        STATUS_TRY(layer_copy(&g->layer[i], g->layer[i].name, &copy));
        if (norm_of[i] >= 0) {
            layer_attr(&copy, "use_bias")->present = true;
            layer_attr(&copy, "use_bias")->u.b = true;
        }
        status error = graph_add_layer(f->graph, &copy, &new_layer[i]);
        if (error) {
            layer_clear(&copy);
            return error;
        }
        f->source_layer[new_layer[i]] = i;
        f->norm_layer[new_layer[i]] = norm_of[i];
    }
    return SUCCESS;
}

static status copy_nodes(const struct graph *g, const bool *folded_node, const int *new_layer, struct fold *f,
                         int *new_node) {
    struct edge in[64];
    for (int i = 0; i < g->nnodes; i++) {
        const struct node *n = &g->node[i];
        if (folded_node[i]) {
            new_node[i] = new_node[n->in[0].node];
            continue;
        }
        struct edge *edges = n->nin <= 64 ? in : malloc((size_t)n->nin * sizeof *edges);
        if (!edges) return status_no_memory("a graph", (size_t)n->nin * sizeof *edges);
        for (int j = 0; j < n->nin; j++) edges[j] = (struct edge){new_node[n->in[j].node], n->in[j].slot};
        status error = graph_add_node(f->graph, new_layer[n->layer], n->nin, edges, &new_node[i]);
        if (edges != in) free(edges);
        STATUS_TRY(error);
    }
    for (int i = 0; i < g->ninputs; i++)
        STATUS_TRY(graph_add_input(f->graph, (struct edge){new_node[g->input[i].node], g->input[i].slot}));
    for (int i = 0; i < g->noutputs; i++)
        STATUS_TRY(graph_add_output(f->graph, (struct edge){new_node[g->output[i].node], g->output[i].slot}));
    return SUCCESS;
}

status fold_create(const struct graph *source, struct fold **fold) {
    size_t layers = (size_t)source->nlayers + 1, nodes = (size_t)source->nnodes + 1;
    struct fold *f = calloc(1, sizeof *f);
    bool *folded_node = calloc(nodes, 1), *dropped = calloc(layers, 1);
    int *norm_of = malloc(layers * sizeof *norm_of), *new_layer = malloc(layers * sizeof *new_layer);
    int *new_node = malloc(nodes * sizeof *new_node);
    status error = SUCCESS;
    if (f) {
        f->source_layer = malloc(layers * sizeof *f->source_layer);
        f->norm_layer = malloc(layers * sizeof *f->norm_layer);
    }
    if (!f || !f->source_layer || !f->norm_layer || !folded_node || !dropped || !norm_of || !new_layer ||
        !new_node) {
        error = status_no_memory("a graph", layers * sizeof *norm_of);
        goto done;
    }
    for (int i = 0; i < source->nlayers; i++) norm_of[i] = -1;
    find_foldable(source, folded_node, norm_of);
    for (int i = 0; i < source->nnodes; i++)
        if (folded_node[i]) dropped[source->node[i].layer] = true;
    STATUS_GOTO(error, done, graph_create(source->name, &f->graph));
    f->graph->keras_version = source->keras_version;
    f->graph->sequential = source->sequential;
    STATUS_GOTO(error, done, copy_layers(source, dropped, norm_of, f, new_layer));
    STATUS_GOTO(error, done, copy_nodes(source, folded_node, new_layer, f, new_node));
    STATUS_GOTO(error, done, graph_infer(f->graph));
    *fold = f;
    f = NULL;
done:
    fold_destroy(&f);
    free(folded_node);
    free(dropped);
    free(norm_of);
    free(new_layer);
    free(new_node);
    return error;
}

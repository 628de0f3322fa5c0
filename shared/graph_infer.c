/* Order, options and shapes of a model graph. */
#include "shared/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ELEMENTS ((int64_t)1 << 40) /* of a weight, or of one sample of an output */

static const struct layer *node_layer(const struct graph *graph, int node) {
    return &graph->layer[graph->node[node].layer];
}

static status check_edge(const struct graph *graph, struct edge edge, const char *what, const char *name) {
    if (edge.node >= 0 && edge.node < graph->nnodes && edge.slot >= 0 && edge.slot < LAYER_MAX_OUTPUTS)
        return SUCCESS;
    return status_fail(STATUS_DATA, "%s \"%s\" refers to a tensor that the model does not have", what, name);
}

static status check_edges(const struct graph *graph) {
    if (!graph->noutputs) return status_fail(STATUS_DATA, "model \"%s\" has no output", graph->name);
    for (int i = 0; i < graph->nnodes; i++) {
        const struct node *node = &graph->node[i];
        if (node->layer < 0 || node->layer >= graph->nlayers)
            return status_fail(STATUS_DATA, "model \"%s\" calls a layer that it does not have", graph->name);
        for (int k = 0; k < node->nin; k++)
            STATUS_TRY(check_edge(graph, node->in[k], "layer", node_layer(graph, i)->name));
    }
    for (int i = 0; i < graph->noutputs; i++)
        STATUS_TRY(check_edge(graph, graph->output[i], "model", graph->name));
    bool *is_input = calloc(graph->nnodes ? (size_t)graph->nnodes : 1, sizeof *is_input);
    if (!is_input) return status_no_memory("graph", (size_t)graph->nnodes);
    status error = SUCCESS;
    for (int i = 0; i < graph->ninputs && !error; i++) {
        error = check_edge(graph, graph->input[i], "model", graph->name);
        if (!error) is_input[graph->input[i].node] = true;
    }
    for (int i = 0; i < graph->nnodes && !error; i++)
        if ((node_layer(graph, i)->kind->max_inputs == 0) != is_input[i])
            error = status_fail(STATUS_DATA,
                                is_input[i] ? "layer \"%s\" is an input of the model but no InputLayer"
                                            : "layer \"%s\" is not among the inputs of the model",
                                node_layer(graph, i)->name);
    free(is_input);
    return error;
}

/* Depth-first order of the nodes, inputs first. Nodes that are in a possible order already keep it. */
static status sort_nodes(const struct graph *graph, int *order) {
    enum { NEW, OPEN, DONE };
    int n = graph->nnodes, done = 0;
    int *state = calloc((size_t)n + 1, sizeof *state), *stack = calloc((size_t)n + 1, sizeof *stack);
    int *next = calloc((size_t)n + 1, sizeof *next); /* input to look at next */
    status error =
        state && stack && next ? SUCCESS : status_no_memory("graph", 3 * (size_t)n * sizeof *state);
    for (int root = 0; root < n && !error; root++) {
        int depth = 0;
        if (state[root] != NEW) continue;
        stack[depth++] = root;
        state[root] = OPEN;
        while (depth && !error) {
            int at = stack[depth - 1];
            if (next[at] == graph->node[at].nin) {
                state[at] = DONE;
                order[done++] = at;
                depth--;
                continue;
            }
            int from = graph->node[at].in[next[at]++].node;
            if (state[from] == OPEN)
                error = status_fail(STATUS_DATA, "layer \"%s\" is part of a cycle",
                                    node_layer(graph, from)->name);
            else if (state[from] == NEW) {
                stack[depth++] = from;
                state[from] = OPEN;
            }
        }
    }
    free(state);
    free(stack);
    free(next);
    return error;
}

static status reorder_nodes(struct graph *graph) {
    size_t n = (size_t)graph->nnodes;
    int *order = calloc(n + 1, sizeof *order), *place = calloc(n + 1, sizeof *place);
    /* As much room as graph_add_node() expects: a power of two. */
    size_t room = 1;
    while (room < n) room *= 2;
    struct node *sorted = malloc(room * sizeof *sorted);
    status error = order && place && sorted ? SUCCESS : status_no_memory("graph", n * sizeof *sorted);
    if (!error) error = sort_nodes(graph, order);
    if (error) {
        free(sorted);
        goto cleanup;
    }
    for (int i = 0; i < graph->nnodes; i++) {
        sorted[i] = graph->node[order[i]];
        place[order[i]] = i;
    }
    for (int i = 0; i < graph->nnodes; i++)
        for (int k = 0; k < sorted[i].nin; k++) sorted[i].in[k].node = place[sorted[i].in[k].node];
    for (int i = 0; i < graph->ninputs; i++) graph->input[i].node = place[graph->input[i].node];
    for (int i = 0; i < graph->noutputs; i++) graph->output[i].node = place[graph->output[i].node];
    free(graph->node);
    graph->node = sorted;
cleanup:
    free(order);
    free(place);
    return error;
}

/* Whatever its unknown dimensions are, and those that are zero. */
static bool is_too_large(const struct shape *shape) {
    int64_t product = 1;
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] > 0 &&
            (__builtin_mul_overflow(product, shape->dim[i], &product) || product > MAX_ELEMENTS))
            return true;
    return false;
}

/* Weights of the layer for these inputs; a layer called before must need the same again. */
static status infer_weights(struct layer *layer, const struct shape *in, int nin, bool first) {
    struct weight weight[LAYER_MAX_WEIGHTS];
    int nweights = 0;
    if (layer->kind->weights) STATUS_TRY(layer->kind->weights(layer, in, nin, weight, &nweights));
    for (int i = 0; i < nweights; i++) {
        char now[SHAPE_TEXT_MAX], before[SHAPE_TEXT_MAX];
        int64_t count;
        STATUS_TRY(status_context(shape_count(&weight[i].shape, &count), "weight \"%s\"", weight[i].name));
        if (is_too_large(&weight[i].shape))
            return status_fail(STATUS_DATA, "weight \"%s\" would have shape %s, more than any file can hold",
                               weight[i].name, shape_format(&weight[i].shape, now));
        if (!first && !shape_equal(&weight[i].shape, &layer->weight[i].shape))
            return status_fail(STATUS_DATA, "called with inputs that need weight \"%s\" as %s and as %s",
                               weight[i].name, shape_format(&layer->weight[i].shape, before),
                               shape_format(&weight[i].shape, now));
    }
    memcpy(layer->weight, weight, (size_t)nweights * sizeof *weight);
    layer->nweights = nweights;
    return SUCCESS;
}

/* Bounds every dimension and what they come to, so that no rule of a layer kind can overflow on what another
 * one made. */
static status check_dims(const struct node *node) {
    char text[SHAPE_TEXT_MAX];
    for (int k = 0; k < node->nout; k++) {
        for (int i = 0; i < node->out[k].rank; i++)
            if (node->out[k].dim[i] > INT32_MAX)
                return status_fail(STATUS_DATA,
                                   "its output would have shape %s; a dimension can be at most %d",
                                   shape_format(&node->out[k], text), INT32_MAX);
        if (is_too_large(&node->out[k]))
            return status_fail(STATUS_DATA, "its output would have shape %s, more than any memory holds",
                               shape_format(&node->out[k], text));
    }
    return SUCCESS;
}

static status infer_node(struct graph *graph, int i, bool first) {
    struct node *node = &graph->node[i];
    struct layer *layer = &graph->layer[node->layer];
    const struct layer_kind *kind = layer->kind;
    if (node->nin < kind->min_inputs || (kind->max_inputs >= 0 && node->nin > kind->max_inputs))
        return status_fail(STATUS_DATA, "has %d inputs; it takes %s%d", node->nin,
                           kind->max_inputs == kind->min_inputs ? "" : "at least ", kind->min_inputs);
    struct shape *in = malloc((size_t)(node->nin ? node->nin : 1) * sizeof *in);
    if (!in) return status_no_memory("graph", (size_t)node->nin * sizeof *in);
    status error = SUCCESS;
    for (int k = 0; k < node->nin && !error; k++) {
        const struct node *from = &graph->node[node->in[k].node];
        if (node->in[k].slot >= from->nout)
            error = status_fail(STATUS_DATA, "takes output %d of layer \"%s\", which has %d",
                                node->in[k].slot, graph->layer[from->layer].name, from->nout);
        else in[k] = from->out[node->in[k].slot];
    }
    if (!error) error = kind->infer(layer, in, node->nin, node->out, &node->nout);
    if (!error) error = check_dims(node);
    if (!error) error = infer_weights(layer, in, node->nin, first);
    free(in);
    return error;
}

/* Needs a node that was passed over? */
static bool is_cut_off(const struct graph *graph, int i) {
    for (int k = 0; k < graph->node[i].nin; k++)
        if (graph->node[graph->node[i].in[k].node].nout == 0) return true;
    return false;
}

/* With `tolerance`, nodes may be passed over. */
static status infer_nodes(struct graph *graph, const struct graph_tolerance *tolerance) {
    bool *called = calloc(graph->nlayers ? (size_t)graph->nlayers : 1, sizeof *called);
    if (!called) return status_no_memory("graph", (size_t)graph->nlayers);
    status error = SUCCESS;
    for (int i = 0; i < graph->nnodes && !error; i++) {
        const struct layer *layer = node_layer(graph, i);
        bool first = !called[graph->node[i].layer];
        graph->node[i].nout = 0;
        if (tolerance && is_cut_off(graph, i)) continue;
        if (tolerance) error = layer_check(layer);
        if (!error) error = infer_node(graph, i, first);
        if (!error) {
            called[graph->node[i].layer] = true;
            continue;
        }
        graph->node[i].nout = 0;
        error = status_context(error, "layer \"%s\" (%s)", layer->name, layer->kind->class_name);
        if (tolerance) error = tolerance->refuse(tolerance->context, graph, i, error);
    }
    free(called);
    return error;
}

static status check_outputs(const struct graph *graph) {
    for (int i = 0; i < graph->noutputs; i++) {
        const struct edge *edge = &graph->output[i];
        if (edge->slot >= graph->node[edge->node].nout)
            return status_fail(STATUS_DATA,
                               "output %d of the model is output %d of layer \"%s\", which has %d", i,
                               edge->slot, node_layer(graph, edge->node)->name, graph->node[edge->node].nout);
    }
    return SUCCESS;
}

status graph_infer(struct graph *graph) {
    STATUS_TRY(check_edges(graph));
    STATUS_TRY(graph_check(graph));
    STATUS_TRY(reorder_nodes(graph));
    STATUS_TRY(infer_nodes(graph, NULL));
    return check_outputs(graph);
}

status graph_infer_known(struct graph *graph, const struct graph_tolerance *tolerance) {
    STATUS_TRY(check_edges(graph));
    STATUS_TRY(reorder_nodes(graph));
    return infer_nodes(graph, tolerance);
}

status graph_check(const struct graph *graph) {
    char *list = NULL;
    for (int i = 0; i < graph->nlayers; i++) {
        const struct layer *layer = &graph->layer[i];
        status error =
            status_context(layer_check(layer), "layer \"%s\" (%s)", layer->name, layer->kind->class_name);
        if (!error) continue;
        if (status_code(error) != STATUS_UNSUPPORTED) {
            free(list);
            return error;
        }
        char *longer = NULL;
        int length = asprintf(&longer, "%s%s%s", list ? list : "", list ? "; " : "", status_message(error));
        status_drop(&error);
        free(list);
        if (length < 0) return status_no_memory("error message", 0);
        list = longer;
    }
    if (!list) return SUCCESS;
    status error = status_fail(STATUS_UNSUPPORTED, "%s", list);
    free(list);
    return error;
}

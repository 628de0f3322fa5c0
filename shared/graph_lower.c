/* From layers to operations, and what they cost. */
#include "shared/graph.h"

#include <stdlib.h>
#include <string.h>

int graph_first_param(const struct graph *graph, int layer) {
    int first = 0;
    for (int i = 0; i < layer; i++) first += graph->layer[i].nweights;
    return first;
}

static status add_params(const struct graph *graph, struct opgraph *ops) {
    for (int i = 0; i < graph->nlayers; i++) {
        const struct layer *layer = &graph->layer[i];
        for (int w = 0; w < layer->nweights; w++) {
            const struct weight *weight = &layer->weight[w];
            struct param param = {.shape = weight->view.rank ? weight->view : weight->shape,
                                  .trainable = layer->trainable && layer->weight[w].trainable,
                                  .layer = i,
                                  .weight = w};
            int index;
            STATUS_TRY(shape_count(&param.shape, &param.count));
            STATUS_TRY(opgraph_add_param(ops, &param, &index));
        }
    }
    return SUCCESS;
}

static int value_at(const int *value, struct edge edge) {
    return value[edge.node * LAYER_MAX_OUTPUTS + edge.slot];
}

/* `value` and `mask`: of every node's outputs, LAYER_MAX_OUTPUTS apart. */
static status lower_node(const struct graph *graph, int i, const int *first_param, struct opgraph *ops,
                         int *value, int *mask) {
    const struct node *node = &graph->node[i];
    const struct layer *layer = &graph->layer[node->layer];
    int param[LAYER_MAX_WEIGHTS];
    for (int w = 0; w < layer->nweights; w++) param[w] = first_param[node->layer] + w;
    int *in = malloc((size_t)(2 * node->nin + 1) * sizeof *in), *in_mask = in + node->nin;
    if (!in) return status_no_memory("graph", (size_t)node->nin * sizeof *in);
    for (int k = 0; k < node->nin; k++) {
        in[k] = value_at(value, node->in[k]);
        in_mask[k] = value_at(mask, node->in[k]);
    }
    struct lowering lowering = {.graph = ops,
                                .node = i,
                                .keras_version = graph->keras_version,
                                .nin = node->nin,
                                .in = in,
                                .mask = in_mask,
                                .param = param};
    status error = layer_lower(layer, &lowering);
    free(in);
    if (error) return error;
    if (lowering.nout != node->nout)
        return status_fail(STATUS_INTERNAL, "lowers to %d outputs, not %d", lowering.nout, node->nout);
    for (int k = 0; k < node->nout; k++) {
        char is[SHAPE_TEXT_MAX], should[SHAPE_TEXT_MAX];
        if (!shape_equal(&ops->value[lowering.out[k]], &node->out[k]))
            return status_fail(STATUS_INTERNAL, "lowers to shape %s, not %s",
                               shape_format(&ops->value[lowering.out[k]], is),
                               shape_format(&node->out[k], should));
        value[i * LAYER_MAX_OUTPUTS + k] = lowering.out[k];
        mask[i * LAYER_MAX_OUTPUTS + k] = lowering.out_mask[k];
    }
    return SUCCESS;
}

static status set_io(const struct graph *graph, const int *value, struct opgraph *ops) {
    int *io = malloc((size_t)(graph->ninputs + graph->noutputs + 1) * sizeof *io);
    if (!io) return status_no_memory("graph", (size_t)(graph->ninputs + graph->noutputs) * sizeof *io);
    for (int i = 0; i < graph->ninputs; i++) io[i] = value_at(value, graph->input[i]);
    for (int i = 0; i < graph->noutputs; i++) io[graph->ninputs + i] = value_at(value, graph->output[i]);
    status error = opgraph_set_io(ops, graph->ninputs, io, graph->noutputs, io + graph->ninputs);
    free(io);
    return error;
}

/* The values that nodes' outputs are, and their masks, LAYER_MAX_OUTPUTS a node; -1: none. */
struct lowered {
    int *value, *mask;
    int *first_param; /* [nlayers] */
};

static status lowered_create(const struct graph *graph, struct lowered *lowered) {
    size_t n = (size_t)graph->nnodes * LAYER_MAX_OUTPUTS, nbytes = (n + 1) * sizeof *lowered->value;
    *lowered = (struct lowered){malloc(nbytes), malloc(nbytes),
                                calloc((size_t)graph->nlayers + 1, sizeof *lowered->first_param)};
    if (!lowered->value || !lowered->mask || !lowered->first_param) return status_no_memory("graph", nbytes);
    for (size_t i = 0; i < n; i++) lowered->value[i] = lowered->mask[i] = -1;
    for (int i = 0; i < graph->nlayers; i++)
        lowered->first_param[i + 1] = lowered->first_param[i] + graph->layer[i].nweights;
    return SUCCESS;
}

static void lowered_clear(struct lowered *lowered) {
    free(lowered->value);
    free(lowered->mask);
    free(lowered->first_param);
}

static bool has_inputs(const struct graph *graph, int i, const struct lowered *lowered) {
    for (int k = 0; k < graph->node[i].nin; k++)
        if (value_at(lowered->value, graph->node[i].in[k]) < 0) return false;
    return true;
}

/* With `tolerance`, nodes may be passed over. */
static status lower_nodes(const struct graph *graph, const struct graph_tolerance *tolerance,
                          struct opgraph *ops, struct lowered *lowered) {
    for (int i = 0; i < graph->nnodes; i++) {
        const struct layer *layer = &graph->layer[graph->node[i].layer];
        if (tolerance && (graph->node[i].nout == 0 || !has_inputs(graph, i, lowered))) continue;
        status error =
            status_context(lower_node(graph, i, lowered->first_param, ops, lowered->value, lowered->mask),
                           "layer \"%s\" (%s)", layer->name, layer->kind->class_name);
        if (error && tolerance) error = tolerance->refuse(tolerance->context, graph, i, error);
        if (error) return error;
    }
    return SUCCESS;
}

status graph_lower(const struct graph *graph, struct opgraph **ops, int **value_of) {
    struct opgraph *created = NULL;
    struct lowered lowered = {0};
    int *first = NULL;
    status error = lowered_create(graph, &lowered);
    if (!error && value_of) {
        first = calloc((size_t)graph->nnodes + 1, sizeof *first);
        if (!first) error = status_no_memory("graph", (size_t)graph->nnodes * sizeof *first);
    }
    if (!error) error = opgraph_create(&created);
    if (!error) error = add_params(graph, created);
    if (!error) error = lower_nodes(graph, NULL, created, &lowered);
    for (int i = 0; first && i < graph->nnodes && !error; i++)
        first[i] = lowered.value[i * LAYER_MAX_OUTPUTS];
    if (!error) error = set_io(graph, lowered.value, created);
    lowered_clear(&lowered);
    if (error) {
        free(first);
        opgraph_destroy(&created);
        return error;
    }
    *ops = created;
    if (value_of) *value_of = first;
    return SUCCESS;
}

status graph_lower_known(const struct graph *graph, const struct graph_tolerance *tolerance,
                         struct opgraph **ops) {
    struct opgraph *created = NULL;
    struct lowered lowered = {0};
    status error = lowered_create(graph, &lowered);
    if (!error) error = opgraph_create(&created);
    if (!error) error = add_params(graph, created);
    if (!error) error = lower_nodes(graph, tolerance, created, &lowered);
    lowered_clear(&lowered);
    if (error) opgraph_destroy(&created);
    else *ops = created;
    return error;
}

/* Are the shapes known, but for the batch? */
static bool sample_is_known(const struct graph *graph) {
    for (int i = 0; i < graph->nnodes; i++)
        for (int k = 0; k < graph->node[i].nout; k++)
            if (shape_sample_count(&graph->node[i].out[k]) < 0) return false;
    return true;
}

status graph_count(const struct graph *graph, struct graph_counts *counts) {
    struct graph_counts c = {.flops = -1, .activation_bytes = -1};
    for (int i = 0; i < graph->nlayers; i++) {
        const struct layer *layer = &graph->layer[i];
        for (int w = 0; w < layer->nweights; w++) {
            int64_t count;
            STATUS_TRY(shape_count(&layer->weight[w].shape, &count));
            c.params += count;
            if (layer->trainable && layer->weight[w].trainable) c.trainable += count;
        }
    }
    if (sample_is_known(graph)) {
        struct opgraph *ops;
        STATUS_TRY(graph_lower(graph, &ops, NULL));
        c.flops = opgraph_flops(ops);
        opgraph_destroy(&ops);
        c.activation_bytes = 0;
        for (int i = 0; i < graph->nnodes; i++)
            for (int k = 0; k < graph->node[i].nout; k++)
                c.activation_bytes += shape_sample_count(&graph->node[i].out[k]) * (int64_t)sizeof(float);
    }
    *counts = c;
    return SUCCESS;
}

/* For the tests of topologies: reading JSON to a graph, and comparing graphs. */
#ifndef GODWIT_TESTS_TOPOLOGY_TESTING_H
#define GODWIT_TESTS_TOPOLOGY_TESTING_H

#include "io/keras.h"

#include "io/io_testing.h"

/* ---- pieces of JSON ---- */

/* A layer of a functional model; `config` begins with a comma if it is not empty. */
#define LAYER(class_name, name, config, nodes)                                                               \
    "{\"class_name\": \"" class_name "\", \"name\": \"" name "\", \"config\": {\"name\": \"" name            \
    "\"" config "}, \"inbound_nodes\": " nodes "}"
#define INPUT(name, shape) LAYER("InputLayer", name, ", \"batch_input_shape\": " shape, "[]")
#define DENSE(name, units) LAYER("Dense", name, ", \"units\": " units, "[]")
#define MODEL(layers, inputs, outputs)                                                                       \
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [" layers                    \
    "], \"input_layers\": " inputs ", \"output_layers\": " outputs "}}"
#define SEQUENTIAL(layers)                                                                                   \
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": [" layers "]}}"
/* A tensor as Keras 3 writes it, of call 0 of a layer. */
#define TENSOR(name, shape)                                                                                  \
    "{\"class_name\": \"__keras_tensor__\", \"config\": {\"shape\": " shape ", \"dtype\": \"float32\", "     \
    "\"keras_history\": [\"" name "\", 0, 0]}}"

/* ---- reading ---- */

static inline struct graph *read_graph(const char *json) {
    struct graph *graph = NULL;
    assert_success(keras_graph_from_json(json, &graph));
    return graph;
}

static inline void refuse(const char *json, enum status_code code, const char *part) {
    struct graph *graph = NULL;
    assert_error(keras_graph_from_json(json, &graph), code, part);
    assert_null(graph);
}

static inline const struct layer *layer_named(const struct graph *graph, const char *name) {
    int i = graph_find_layer(graph, name);
    if (i < 0) fail_msg("there is no layer \"%s\"", name);
    return &graph->layer[i];
}

static inline const struct layer *layer_of(const struct graph *graph, int node) {
    return &graph->layer[graph->node[node].layer];
}

/* The layer's name of the node that input k of a node comes from. */
static inline const char *source(const struct graph *graph, int node, int k) {
    return layer_of(graph, graph->node[node].in[k].node)->name;
}

static inline void assert_shape(const struct graph *graph, int node, struct shape expected) {
    char text[SHAPE_TEXT_MAX];
    if (!shape_equal(&graph->node[node].out[0], &expected))
        fail_msg("layer \"%s\" gives %s", layer_of(graph, node)->name,
                 shape_format(&graph->node[node].out[0], text));
}

/* ---- comparing ---- */

static inline void assert_layers_equal(const struct layer *a, const struct layer *b) {
    if (strcmp(a->name, b->name)) fail_msg("layer \"%s\" became \"%s\"", a->name, b->name);
    if (!layer_equal(a, b)) fail_msg("layer \"%s\" is not what it was", a->name);
    assert_int_equal(a->trainable, b->trainable);
    assert_int_equal(a->nweights, b->nweights);
    for (int w = 0; w < a->nweights; w++) {
        assert_string_equal(a->weight[w].name, b->weight[w].name);
        assert_true(shape_equal(&a->weight[w].shape, &b->weight[w].shape));
    }
}

/* The same from two nodes back to the inputs; `twin` says which node of b is a node of a, -1: not yet known.
 */
static inline void assert_nodes_equal(const struct graph *a, const struct graph *b, int i, int j, int *twin) {
    if (twin[i] >= 0) {
        assert_int_equal(twin[i], j);
        return;
    }
    twin[i] = j;
    const struct node *x = &a->node[i], *y = &b->node[j];
    assert_layers_equal(layer_of(a, i), layer_of(b, j));
    assert_int_equal(x->nin, y->nin);
    assert_int_equal(x->nout, y->nout);
    for (int k = 0; k < x->nout; k++) assert_true(shape_equal(&x->out[k], &y->out[k]));
    for (int k = 0; k < x->nin; k++) {
        assert_int_equal(x->in[k].slot, y->in[k].slot);
        assert_nodes_equal(a, b, x->in[k].node, y->in[k].node, twin);
    }
}

/* The same graph, whatever the order of its layers; of what no output needs, nothing. */
static inline void assert_graphs_equal(const struct graph *a, const struct graph *b) {
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->ninputs, b->ninputs);
    assert_int_equal(a->noutputs, b->noutputs);
    int *twin = malloc(((size_t)a->nnodes + 1) * sizeof *twin);
    for (int i = 0; i < a->nnodes; i++) twin[i] = -1;
    for (int i = 0; i < a->noutputs; i++) {
        assert_int_equal(a->output[i].slot, b->output[i].slot);
        assert_nodes_equal(a, b, a->output[i].node, b->output[i].node, twin);
    }
    for (int i = 0; i < a->ninputs; i++) assert_nodes_equal(a, b, a->input[i].node, b->input[i].node, twin);
    free(twin);
}

#endif

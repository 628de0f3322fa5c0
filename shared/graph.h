/* Model graph: a directed acyclic graph of layers, as Keras's Sequential and functional models describe it.
 *
 * A layer may be called more than once (shared weights): `layers` hold kinds, attributes and weights,
 * `nodes` are the calls. Weight values live apart from the graph, in `struct params` numbered as
 * graph_lower() numbers them: layer by layer in order, weight by weight. */
#ifndef GODWIT_SHARED_GRAPH_H
#define GODWIT_SHARED_GRAPH_H

#include "shared/layer.h"

struct edge {
    int node;
    int slot; /* which output of the node */
};

struct node {
    int layer;
    int nin;
    struct edge *in; /* [nin], owned */
    int nout;
    struct shape out[LAYER_MAX_OUTPUTS]; /* known after graph_infer */
};

struct graph {
    char *name;        /* owned */
    int keras_version; /* major of the file it came from: 1, 2, 3 */
    bool sequential;   /* written as Sequential */
    int nlayers, nnodes, ninputs, noutputs;
    struct layer *layer; /* [nlayers] in the file's order; their names do not change */
    void *names;         /* of the layers: a search tree */
    struct node *node;   /* [nnodes], topologically sorted after graph_infer */
    struct edge *input;  /* [ninputs]: nodes of InputLayers */
    struct edge *output; /* [noutputs] */
};

status graph_create(const char *name, struct graph **graph) STATUS_MUST_USE;
status graph_clone(const struct graph *graph, struct graph **clone) STATUS_MUST_USE;
void graph_destroy(struct graph **graph);

/* Adds a layer (moved from *layer, which is cleared, on failure too) and one call of it; either may be used
 * alone. Edges may name nodes that are added later. `index` and `node` may be NULL. */
status graph_add_layer(struct graph *graph, struct layer *layer, int *index) STATUS_MUST_USE;
status graph_add_node(struct graph *graph, int layer, int nin, const struct edge *in,
                      int *node) STATUS_MUST_USE;
status graph_add_input(struct graph *graph, struct edge input) STATUS_MUST_USE;
status graph_add_output(struct graph *graph, struct edge output) STATUS_MUST_USE;
int graph_find_layer(const struct graph *graph, const char *name); /* -1 if none */
int graph_layer_node(const struct graph *graph, int layer);        /* first node that calls it, -1 if none */
/* For a name that no layer has: the one that is nearest to it, of those that `counts` (NULL: all); borrowed,
 * NULL if none is near (nearest_word()). */
const char *graph_nearest_layer(const struct graph *graph,
                                bool (*counts)(const struct graph *graph, int layer), const char *name);
/* The only reader of any of a node's outputs, which reads it once; -1: none, several, or the graph's output.
 */
int graph_only_reader(const struct graph *graph, int node);

/* Gives all inputs shapes (dimension 0 is the batch and stays unknown), e.g. the size of the images at hand
 * for a model that takes any, and infers again. shape: [ninputs]. */
status graph_set_input_shapes(struct graph *graph, const struct shape *shape) STATUS_MUST_USE;

/* Sorts the nodes, checks every layer's options, infers shapes and weights. Errors: DATA for a cycle, a
 * dangling input, shapes that do not fit; UNSUPPORTED for options. Names the layer. */
status graph_infer(struct graph *graph) STATUS_MUST_USE;

/* For looking at models that this program cannot compute: what to do with a node that cannot be inferred or
 * lowered. refuse() gets the error, which it owns: SUCCESS passes the node over, an error ends the call. */
struct graph_tolerance {
    status (*refuse)(void *context, const struct graph *graph, int node, status error);
    void *context;
};

/* As graph_infer(), but a node that is passed over, or needs one that was, has no outputs (nout 0): their
 * shapes are not known. */
status graph_infer_known(struct graph *graph, const struct graph_tolerance *tolerance) STATUS_MUST_USE;

/* All layers whose options are unsupported, one error that lists them all; SUCCESS if none. */
status graph_check(const struct graph *graph) STATUS_MUST_USE;

/* The operation graph of an inferred graph. Parameters are numbered by layer, then weight. `value_of`, if
 * not NULL, receives an owned array [nnodes] of the value of each node's first output. Where height or width
 * is unknown, so is the padding that depends on it: numbers of parameters are right, but engines refuse to
 * compile such a graph (see graph_set_input_shapes). */
status graph_lower(const struct graph *graph, struct opgraph **ops, int **value_of) STATUS_MUST_USE;

/* The operations of a graph inferred by graph_infer_known(), as far as they are known: for counting, not for
 * computing; without inputs and outputs. */
status graph_lower_known(const struct graph *graph, const struct graph_tolerance *tolerance,
                         struct opgraph **ops) STATUS_MUST_USE;

/* Number of the first parameter of a layer in that numbering. */
int graph_first_param(const struct graph *graph, int layer);

struct graph_counts {
    int64_t params, trainable;
    double flops;             /* one sample, multiply-add is two; -1 if shapes are unknown */
    int64_t activation_bytes; /* one sample, all node outputs, float32; -1 if shapes are unknown */
};
status graph_count(const struct graph *graph, struct graph_counts *counts) STATUS_MUST_USE;

/* Boundaries: nodes whose output is an articulation point, i.e. every path from an input to an output goes
 * through it (first node: the input, if there is one; last: the output). `nodes` is owned by the caller,
 * [*n], ascending in topological order. A graph with several inputs or outputs may have few. */
status graph_boundaries(const struct graph *graph, int **nodes, int *n) STATUS_MUST_USE;

#endif

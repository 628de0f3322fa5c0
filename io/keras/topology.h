/* Keras's topology JSON: text to graph and back. Internal to io/keras.
 *
 * A model is a list of layers (Sequential) or of layers with calls (functional), in the dialect of Keras 2 or
 * of Keras 3. Models inside models are flattened. Layers are read and written from their attribute tables. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_H
#define GODWIT_IO_KERAS_TOPOLOGY_H

#include "io/keras.h"
#include "io/keras/topology_json.h"

/* How a topology is written. */
enum topology_dialect {
    TOPOLOGY_COMMON, /* as Keras 2 writes it, in the form that Keras 3 and TensorFlow.js read as well */
    TOPOLOGY_KERAS3  /* as Keras 3 writes it, in .keras and in .h5 */
};

/* A graph, and where its layers were before models inside the model were flattened: a file keeps the weights
 * of a layer under the name of the outermost model or layer it belongs to. */
struct topology {
    struct graph *graph; /* owned; not inferred */
    int ntop;
    char **top_name; /* [ntop], owned: outermost layers in the file's order */
    int nlayers;     /* of graph */
    int *top_of;     /* [nlayers], owned: outermost layer of each layer */
    char **group;    /* [nlayers], owned: where .weights.h5 has it: "layers/functional/layers/dense_1" */
};

/* `keras_version` is the major version if the file says it, else 0. `options` (may be NULL) as keras_open has
 * them: aliases, and where to put what is unsupported. */
status topology_read(const char *json, int keras_version, const struct keras_options *options,
                     struct topology *topology) STATUS_MUST_USE;
/* Text that need not end in NUL. */
status topology_read_text(const char *text, size_t length, int keras_version,
                          const struct keras_options *options, struct topology *topology) STATUS_MUST_USE;
/* Infers its graph: strictly, or with options->unsupported as far as it can. */
status topology_infer(struct topology *topology, const struct keras_options *options) STATUS_MUST_USE;
void topology_clear(struct topology *topology);

/* The dialect in which a graph is written if there is no reason for another: the common one, unless a call or
 * an attribute has no form there that both read (several arguments that are tensors; several axes). */
enum topology_dialect topology_dialect_of(const struct graph *graph);

/* Writes an inferred graph; *json is owned. Layers that no output needs are left out. Initializers are not
 * written: Keras's defaults apply. UNSUPPORTED for what Keras 3 computes otherwise or cannot say. */
status topology_write(const struct graph *graph, enum topology_dialect dialect, char **json) STATUS_MUST_USE;

/* Layers in the order in which Keras lists a model's layers, which is the order of their weights in a file,
 * whatever their order in the JSON: by depth, counted from the outputs, then in the order in which a search
 * from the outputs meets them (keras/src/ops/function.py, map_graph). In a Sequential that is their order.
 * `order` is owned by the caller, [*n]; layers that no output needs are left out. */
status topology_order(const struct graph *graph, int **order, int *n) STATUS_MUST_USE;

/* Names of the groups that Keras 3's .weights.h5 has for the layers of one model, in its order, by their
 * classes: "dense", "dense_1"; owned by the caller, group[n]. */
status topology_group_names(int n, const char *const *class_name, char **group) STATUS_MUST_USE;

/* Is it one chain of calls, each layer called once, as in a Sequential? */
bool topology_is_chain(const struct graph *graph);

#endif

/* Keras's topology JSON: text to graph and back. Internal to io/keras.
 *
 * A model is a list of layers (Sequential) or of layers with calls (functional), in the dialect of Keras 2 or
 * of Keras 3. Models inside models are flattened. Layers are read and written from their attribute tables. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_H
#define GODWIT_IO_KERAS_TOPOLOGY_H

#include "io/keras.h"

struct cJSON;

/* ---- JSON ---- */

#define TOPOLOGY_MAX_BYTES ((size_t)256 << 20)
#define TOPOLOGY_MAX_LAYERS 16384
#define TOPOLOGY_MAX_CALLS 65536

/* Parses one JSON value; *json is owned by the caller (cJSON_Delete). DATA error for text that is not JSON,
 * nested deeper than cJSON allows (1,000), or that has an object with the same key twice. */
status topology_parse(const char *text, struct cJSON **json) STATUS_MUST_USE;

/* The value inside the wrappers that Keras's serialization puts around tuples, NumPy scalars and arrays and
 * functions: {"class_name": "__tuple__", "items": [...]} and the like; `json` itself if there is none. */
const struct cJSON *topology_unwrap(const struct cJSON *json);

/* A value as short text for a message, in text[TOPOLOGY_TEXT_MAX]; returns text. */
#define TOPOLOGY_TEXT_MAX 80
const char *topology_text(const struct cJSON *json, char *text);

/* ---- layers ---- */

/* Reads a JSON value into an attribute. What is of the right type and not allowed goes to `problems`, and the
 * attribute keeps its value; what is of the wrong type is a DATA error. `where` names the layer. */
status topology_attr_read(const struct attr_spec *spec, const struct cJSON *json, const char *where,
                          struct attr *attr, struct problems *problems) STATUS_MUST_USE;
/* The JSON value of an attribute; owned. */
status topology_attr_write(const struct attr_spec *spec, const struct attr *attr,
                           struct cJSON **json) STATUS_MUST_USE;

/* Reads one layer, {"class_name": ..., "config": {...}}. If its class is unknown, that goes to `problems` and
 * layer->kind is NULL. */
status topology_layer_read(const struct cJSON *json, const char *name, int keras_version, struct layer *layer,
                           struct problems *problems) STATUS_MUST_USE;
/* {"class_name": ..., "config": {...}} in the Keras 2 dialect that Keras 3 reads too; owned. */
status topology_layer_write(const struct layer *layer, struct cJSON **json) STATUS_MUST_USE;

/* A layer that stands for one whose class is not known, in a graph that is only looked at: it infers and
 * lowers to an UNSUPPORTED error (topology_unknown.c). */
status topology_unknown_create(const char *class_name, const char *name, struct layer *layer) STATUS_MUST_USE;

/* The kind of layer that takes no input. */
const struct layer_kind *topology_input_kind(void);

/* ---- scopes: one model's layers and calls, as the JSON has them ---- */

struct topology_ref { /* an output tensor of a call */
    int entry, call, tensor;
};

struct topology_call {
    int nin;
    struct topology_ref *in; /* [nin], owned */
};

struct topology_scope;

struct topology_entry {
    char *name;                    /* owned */
    char *class_name;              /* owned; as the file has it */
    bool input;                    /* an input of this model */
    struct layer layer;            /* if not `nested`; cleared once it has moved to a graph */
    struct topology_scope *nested; /* a model inside this one; owned */
    int index;                     /* in the graph, -1 before */
    int ncalls;
    struct topology_call *call; /* [ncalls], owned */
};

struct topology_scope {
    char *name; /* owned */
    bool sequential;
    bool trainable;
    int nentries;
    struct topology_entry *entry; /* [nentries], owned, in the file's order */
    int ninputs, noutputs;
    struct topology_ref *input, *output; /* owned */
};

/* Reads {"class_name": ..., "config": ...} of a model. */
status topology_scope_read(const struct cJSON *json, int keras_version, struct topology_scope **scope,
                           struct problems *problems) STATUS_MUST_USE;
void topology_scope_destroy(struct topology_scope **scope); /* accepts NULL */

/* Is this the JSON of a model, not of a layer? */
bool topology_is_model(const struct cJSON *json);

/* Reads a functional model's calls into a scope whose entries have their names (topology_calls.c). */
status topology_calls_read(const struct cJSON *layers, const struct cJSON *config,
                           struct topology_scope *scope, struct problems *problems) STATUS_MUST_USE;

/* ---- whole topologies ---- */

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
/* Puts what turns out to be unsupported there, and passes over layers that are there already. */
struct graph_tolerance topology_tolerance(struct problems *problems);
/* Infers its graph: strictly, or with options->unsupported as far as it can. */
status topology_infer(struct topology *topology, const struct keras_options *options) STATUS_MUST_USE;
void topology_clear(struct topology *topology);

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

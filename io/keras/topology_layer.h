/* One layer: {"class_name": ..., "config": {...}} to struct layer and back, by the kind's table of
 * attributes. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_LAYER_H
#define GODWIT_IO_KERAS_TOPOLOGY_LAYER_H

#include "io/keras/problems.h"
#include "io/keras/topology.h"
#include "shared/layer.h"

struct cJSON;
struct topology_aliases;

/* Layers and calls of all models of a topology, read so far. */
struct topology_count {
    int nlayers, ncalls;
};
#define TOPOLOGY_MAX_LAYERS 16384
#define TOPOLOGY_MAX_CALLS 65536

/* What reading a topology needs to know, and what it finds missing. */
struct topology_reading {
    int keras_version;                      /* major */
    const struct topology_aliases *aliases; /* NULL: none */
    struct problems *problems;
    struct topology_count *count;
};

/* Counts more of them: DATA error if they are too many. */
status topology_count_layers(const struct topology_reading *reading, int n) STATUS_MUST_USE;
status topology_count_calls(const struct topology_reading *reading, int n) STATUS_MUST_USE;

/* Reads a JSON value into an attribute. What is of the right type and not allowed goes to `problems`, and the
 * attribute keeps its value; what is of the wrong type is a DATA error. `where` names the layer. */
status topology_attr_read(const struct attr_spec *spec, const struct cJSON *json, const char *where,
                          struct attr *attr, struct problems *problems) STATUS_MUST_USE;

/* Is it of a class that is not Keras's own? Those have modules such as "keras.layers", or none; registered
 * ones are "package>Class". */
bool topology_is_custom(const struct cJSON *json);
/* Is this the JSON of a model, not of a layer? */
bool topology_is_model(const struct cJSON *json);

/* Reads one layer, by its alias if it has one. If its class is unknown, that goes to the problems and
 * layer->kind is NULL. */
status topology_layer_read(const struct cJSON *json, const char *name, const struct topology_reading *reading,
                           struct layer *layer) STATUS_MUST_USE;
/* Layers that are called one after the other where the JSON has one: a layer and then its activation, if that
 * is a layer; what an alias says. */
struct topology_tail {
    struct layer layer;
    const char *part; /* of the first layer's group in .weights.h5; NULL: not known */
    int index;        /* in the graph, -1 before */
};

struct topology_chain {
    struct layer first;
    int ntails;
    struct topology_tail *tail; /* [ntails], owned */
};

/* If a class is unknown, that goes to the problems and chain->first.kind is NULL. */
status topology_chain_read(const struct cJSON *json, const char *name, const struct topology_reading *reading,
                           struct topology_chain *chain) STATUS_MUST_USE;
void topology_chain_clear(struct topology_chain *chain);

/* {"class_name": ..., "config": {...}}, for Keras 3 with "module" and "registered_name"; owned. UNSUPPORTED
 * for an option that Keras 3 does not have. */
status topology_layer_write(const struct layer *layer, enum topology_dialect dialect,
                            struct cJSON **json) STATUS_MUST_USE;
/* Adds the attributes that are given in calls (attr_spec.call) to a call's keywords, but for those that are
 * as if not given. */
status topology_call_attrs_write(const struct layer *layer, struct cJSON *keywords) STATUS_MUST_USE;
/* The dtype of a layer as Keras 3 writes it: a policy, float32; owned, NULL without memory. */
struct cJSON *topology_policy(void);

/* The attribute of a layer that an argument of its call gives (attr_spec.call); -1 if there is none. */
int topology_call_attr(const struct layer_kind *kind, const char *name);
/* Is an attribute what it would be if the file did not mention it? */
status topology_attr_is_initial(const struct attr_spec *spec, const struct attr *attr,
                                bool *initial) STATUS_MUST_USE;

/* A layer that stands for one whose class is not known, in a graph that is only looked at: it infers and
 * lowers to an UNSUPPORTED error (topology_unknown.c). */
status topology_unknown_create(const char *class_name, const char *name, struct layer *layer) STATUS_MUST_USE;

/* The kind of layer that takes no input. */
const struct layer_kind *topology_input_kind(void);

#endif

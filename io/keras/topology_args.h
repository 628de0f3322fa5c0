/* The arguments of one call of a layer, alike for both dialects. Internal to io/keras.
 *
 * Keras 2 writes the tensors of the first argument, and all others by keyword beside each of them:
 * [["q", 0, 0, {"value": ["v", 0, 0], "training": false}]]. Keras 3 writes {"args": [...], "kwargs": {...}}
 * with tensors as {"class_name": "__keras_tensor__", "config": {"shape": ..., "keras_history": ["q", 0, 0]}}.
 * In both a tensor is a layer's name, the number of its call, the number of the output. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_ARGS_H
#define GODWIT_IO_KERAS_TOPOLOGY_ARGS_H

#include "shared/status.h"

struct cJSON;

struct topology_tensor {
    const char *layer; /* borrowed; NULL: a null among tensors */
    int call, tensor;
    const struct cJSON *shape; /* borrowed; NULL if the dialect does not say it */
};

struct topology_arg {
    const char *name;          /* borrowed; NULL: by position */
    const struct cJSON *value; /* borrowed, unwrapped */
    int first, n;              /* its tensors, in topology_args.tensor; n is 0: a constant */
    bool list;                 /* the tensors are in a list, be it of one */
    bool mixed;                /* there are constants among the tensors */
};

struct topology_args {
    int n, room;
    struct topology_arg *arg; /* [n], owned: those by position first */
    int ntensors, tensor_room;
    struct topology_tensor *tensor; /* [ntensors], owned */
};

/* Reads a call's JSON; what `args` had before is forgotten, its memory used again. DATA error, in words that
 * follow the layer's name, for what is no call. */
status topology_args_read(const struct cJSON *call, struct topology_args *args) STATUS_MUST_USE;
void topology_args_clear(struct topology_args *args);

/* Reads "input_layers" or "output_layers" as one argument: a tensor, or lists or an object of them. The order
 * of what an object holds is that of its keys, as Keras has it. */
status topology_ends_read(const struct cJSON *ends, struct topology_args *args) STATUS_MUST_USE;

/* Is a constant without effect as an argument: null or false? */
bool topology_arg_is_unused(const struct topology_arg *arg);

#endif

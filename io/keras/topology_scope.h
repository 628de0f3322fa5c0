/* Scopes: one model's layers and calls, as the JSON has them, and the models inside it. Internal to io/keras.
 */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_SCOPE_H
#define GODWIT_IO_KERAS_TOPOLOGY_SCOPE_H

#include "io/keras/topology_args.h"
#include "io/keras/topology_layer.h"

struct topology_ref { /* an output tensor of a call */
    int entry, call, tensor;
};

/* A mask that a call gives explicitly, for one of its inputs. */
struct topology_mask {
    int input;
    struct topology_ref ref;
};

struct topology_call {
    int nin;
    struct topology_ref *in; /* [nin], owned */
    int nmasks;
    struct topology_mask *mask; /* [nmasks], owned */
    struct topology_args args;  /* of an operation; its tensors are in[] */
};

struct topology_scope;

struct topology_entry {
    char *name;                  /* owned */
    char *class_name;            /* owned; as the file has it */
    bool input;                  /* an input of this model */
    struct topology_chain chain; /* if none of the next two; its layers are cleared once they have moved to a
                                    graph. Of an unknown class its first layer has no kind */
    const struct cJSON *op;      /* an operation, which becomes layers where it is called; borrowed */
    struct topology_scope *nested; /* a model inside this one; owned */
    int index;                     /* in the graph, -1 before */
    int top;                       /* the outermost layer it belongs to */
    bool outermost;                /* it is one */
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
status topology_scope_read(const struct cJSON *json, const struct topology_reading *reading,
                           struct topology_scope **scope) STATUS_MUST_USE;
void topology_scope_destroy(struct topology_scope **scope); /* accepts NULL */

/* Reads a functional model's calls, inputs and outputs into a scope whose entries have their names and layers
 * (topology_calls.c). Attributes that calls give are set in the layers. */
status topology_calls_read(const struct cJSON *layers, const struct cJSON *config,
                           const struct topology_reading *reading,
                           struct topology_scope *scope) STATUS_MUST_USE;

/* What the tensors of a call are to a layer, in order; each array has room for args->ntensors. */
struct topology_bound {
    int nin, nmasks;
    const struct topology_tensor **in, **mask; /* [nin], [nmasks] */
    int *masked;                               /* [nmasks] the input that a mask is for */
};

/* Says what they are. What the layer is called with besides goes to its call attributes, `first` saying that
 * no call has set them before, or to the problems (topology_bind.c). */
status topology_bind(const struct topology_args *args, bool first, const struct topology_reading *reading,
                     const char *name, struct layer *layer, struct topology_bound *bound) STATUS_MUST_USE;

/* The same for a model, which takes all tensors in their order; `reading` NULL: nothing is a problem. */
void topology_bind_model(const struct topology_args *args, const struct topology_reading *reading,
                         const char *name, struct topology_bound *bound);

/* Masks that calls give explicitly must be those that they would get anyway, from an Embedding or a Masking:
 * Keras 3 writes those too. Others go to the problems (topology_mask.c). */
status topology_masks_check(struct topology_scope *scope,
                            const struct topology_reading *reading) STATUS_MUST_USE;

#endif

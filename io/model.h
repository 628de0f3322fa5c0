/* A model in memory: its graph, its operations and its parameters. */
#ifndef GODWIT_IO_MODEL_H
#define GODWIT_IO_MODEL_H

#include "io/keras.h"
#include "shared/comm.h"

struct model {
    struct graph *graph;
    struct opgraph *ops;
    int *value_of;         /* [graph->nnodes] value of each node's first output */
    struct params *params; /* as graph_lower() numbers them */
    char *preprocessing;   /* JSON, NULL if there is none */
};

/* Around a graph, which it owns from now on (destroyed on failure too); parameters are zero. Not collective.
 */
status model_create(struct graph *graph, struct model **model) STATUS_MUST_USE;
/* The same with parameters that the ranks of `node` share. Collective over `node`, as is destroying it. */
status model_create_shared(struct graph *graph, const struct comm *node,
                           struct model **model) STATUS_MUST_USE;
/* The same without parameters (NULL): for looking at its operations. */
status model_outline(struct graph *graph, struct model **model) STATUS_MUST_USE;
/* Topology and all weights of a file. Errors as keras_open and keras_read_params. Not collective. */
status model_read(const char *path, const struct keras_options *options,
                  struct model **model) STATUS_MUST_USE;
/* Gives the inputs the shapes of what is at hand (batch first, ignored), for models of unknown height, width
 * or length; parameters stay. shape: [graph->ninputs]. DATA error if one does not fit what the model takes,
 * or layers need other parameters for it; the model cannot be used after an error. */
status model_set_inputs(struct model *model, const struct shape *shape) STATUS_MUST_USE;
/* The operations for inputs of such shapes (as above), owned by the caller; the model stays as it is. Its
 * parameters are theirs. Errors as above. */
status model_fit(const struct model *model, const struct shape *shape, struct opgraph **ops) STATUS_MUST_USE;
/* Complete or absent. */
status model_write(const char *path, const struct model *model) STATUS_MUST_USE;
void model_destroy(struct model **model);

/* The operations up to output 0 without its final softmax: the logits. Owned by the caller. */
status model_logits(const struct model *model, struct opgraph **logits) STATUS_MUST_USE;
/* Classes: the size of output 0, which must be (batch, classes); UNSUPPORTED otherwise. */
status model_classes(const struct model *model, int64_t *classes) STATUS_MUST_USE;
/* Shape of input 0; UNSUPPORTED if there are several inputs. */
status model_input(const struct model *model, struct shape *shape) STATUS_MUST_USE;

#endif

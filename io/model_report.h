/* What is in a model, for people and for programs; also of models of which parts are unsupported. */
#ifndef GODWIT_IO_MODEL_REPORT_H
#define GODWIT_IO_MODEL_REPORT_H

#include "io/keras.h"

struct model_report {
    const char *name;          /* heads it: the file */
    const char *container;     /* what the model is kept in; NULL: not said */
    const struct graph *graph; /* as keras_open gives it */
    struct problems
        *problems; /* what is unsupported in it; lowering it may add to them. NULL: that is an error */
};

/* A table of the model's nodes in topological order: layer, class, output shape, parameters and
 * floating-point operations for one sample (a multiply-add is two; "?" where something is not known), with
 * totals of what is known, inputs and outputs, boundaries, and what is unsupported. A layer called twice has
 * its parameters counted at its first call. Owned. */
status model_report_text(const struct model_report *report, char **text) STATUS_MUST_USE;

/* The same as one JSON object: "model", "container", "keras", "sequential", "inputs" and "outputs":
 * [{"layer", "shape"}], "layers": [{"name", "class", "inputs": [names], "output": shape, "outputs": [shapes],
 * "params", "trainable", "flops", "supported"}], "boundaries": [names], "unsupported": [{"layer",
 * "problem"}], "total": {"params", "trainable", "flops", "activation_bytes", "complete"}. A shape is a list
 * with null for dimensions that are not known; null stands for whatever is not known. Owned. */
status model_report_json(const struct model_report *report, char **json) STATUS_MUST_USE;

#endif

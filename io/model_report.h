/* What is in a model, for people and for programs. */
#ifndef GODWIT_IO_MODEL_REPORT_H
#define GODWIT_IO_MODEL_REPORT_H

#include "shared/graph.h"

/* A table of the model's nodes in topological order: layer, class, output shape, parameters and
 * floating-point operations for one sample (a multiply-add is two; "?" where a shape is not known), with
 * totals and boundaries. `name` heads it. A layer called twice has its parameters counted at its first call.
 * Owned. */
status model_report_text(const struct graph *graph, const char *name, char **text) STATUS_MUST_USE;

/* The same as one JSON object: "model", "keras", "sequential", "layers": [{"name", "class", "inputs":
 * [names], "output": [shape, null where unknown], "params", "trainable", "flops"}], "boundaries": [names],
 * "total": {"params", "trainable", "flops", "activation_bytes"}; null for what is not known. Owned. */
status model_report_json(const struct graph *graph, const char *name, char **json) STATUS_MUST_USE;

#endif

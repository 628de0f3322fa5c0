/* What is proven of each layer kind: the table of layers that `godwit help layers` prints and docs/layers.md
 * holds. tests/worker/test_layer_cases.c proves it, and fails for a kind without a proof, or if the table
 * says otherwise. */
#ifndef GODWIT_SHARED_LAYER_COVERAGE_H
#define GODWIT_SHARED_LAYER_COVERAGE_H

#include "shared/layer.h"

struct layer_coverage {
    const char *class_name;
    bool backward;       /* can be trained: its gradient is that of finite differences */
    const char *against; /* programs whose outputs every engine gives */
};

/* NULL if nothing is said of it. */
const struct layer_coverage *layer_coverage(const struct layer_kind *kind);

/* The table of all kinds, Markdown; owned. */
status layer_coverage_table(char **text) STATUS_MUST_USE;

#endif

/* Folding of batch norms at the level of the graph: which ones can be taken into the weights before them. */
#ifndef GODWIT_COORDINATOR_FOLD_H
#define GODWIT_COORDINATOR_FOLD_H

#include "shared/graph.h"

/* The source without its foldable batch norms; computes the same once the weights are folded. */
struct fold {
    struct graph *graph; /* owned, inferred */
    int *source_layer;   /* [graph->nlayers] the layer it copies */
    int *norm_layer;     /* [graph->nlayers] batch norm folded into it, source layer; -1 if none */
};

/* A batch norm is foldable if it alone reads the output of a layer with weights, a bias option and no
 * activation, called once. `source` is inferred and stays the caller's. */
status fold_create(const struct graph *source, struct fold **fold) STATUS_MUST_USE;
void fold_destroy(struct fold **fold);

#endif

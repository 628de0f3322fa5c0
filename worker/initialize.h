/* Start values of untrained models. */
#ifndef GODWIT_WORKER_INITIALIZE_H
#define GODWIT_WORKER_INITIALIZE_H

#include "shared/graph.h"

/* Keras's defaults, but for tables of embeddings and recurrent kernels: Glorot-uniform kernels (Glorot and
 * Bengio 2010); ones for gamma, variances and scales (LayerScale's gamma as its init_values say); zeros
 * elsewhere. Depends on the seed and the parameter's number alone. `params` as graph_lower() numbers them. */
void initialize_params(const struct graph *graph, const struct opgraph *ops, uint64_t seed,
                       struct params *params);

#endif

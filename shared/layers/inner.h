/* What wrappers share: a layer inside a layer, whose weights are the outer layer's. Private to
 * shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_INNER_H
#define GODWIT_SHARED_LAYERS_INNER_H

#include "shared/layer.h"

/* The layer in an attribute, NULL if absent. */
struct layer *inner_layer(const struct layer *layer, const char *attr);
/* layer_check() of it; errors name it. */
status inner_check(const struct layer *inner) STATUS_MUST_USE;
/* Appends the weights of an inner layer to weight[*nweights]; their paths begin with `path`. `prefix`, if not
 * NULL, tells names apart: "forward/", "backward/", "cell0/" to "cell4/". UNSUPPORTED error if there are too
 * many. */
status inner_weights(const struct layer *inner, const char *path, const char *prefix, const struct shape *in,
                     int nin, struct weight *weight, int *nweights) STATUS_MUST_USE;
/* The outer layer's output channels are not those of the inner one: these weights are indexed by none. */
void inner_hide_outputs(struct weight *weight, int n);
/* Lowers an inner layer on these values and parameters: *result is filled in, and its outputs are set. */
status inner_lower(const struct layer *inner, const struct lowering *outer, int nin, const int *in,
                   const int *mask, const int *param, struct lowering *result) STATUS_MUST_USE;

#endif

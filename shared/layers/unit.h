/* Vectors of length 1. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_UNIT_H
#define GODWIT_SHARED_LAYERS_UNIT_H

#include "shared/layer.h"

/* The value divided by its Euclidean norm over the axes (bit i: axis i), squares of less than 1e-12 in sum
 * being taken for that, as Keras and TensorFlow do. */
status unit_length(struct lowering *lowering, unsigned axes, int value, int *out) STATUS_MUST_USE;

#endif

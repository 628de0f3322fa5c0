/* Where a file keeps each weight of a graph. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_LOCATE_H
#define GODWIT_IO_KERAS_LOCATE_H

#include "io/keras/container.h"
#include "io/keras/hdf5.h"

/* Finds and checks all weights of an inferred graph below `root`, the group with "layer_names", of file
 * number `file`. Paths are relative to root. DATA error naming the weight that is missing, or of another
 * shape or type than the topology says. */
status locate_weights(int64_t root, const struct topology *topology, int file,
                      struct places *places) STATUS_MUST_USE;

#endif

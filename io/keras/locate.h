/* Where HDF5 of Keras's legacy format keeps each weight of a graph. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_LOCATE_H
#define GODWIT_IO_KERAS_LOCATE_H

#include "io/keras/hdf5_source.h"

/* Finds and checks all weights of an inferred graph below sources->root, the group with "layer_names", of
 * file number `file`: fills in sources and places. DATA error naming the weight that is missing, or of
 * another shape or type than the topology says. */
status locate_weights(const struct topology *topology, const struct origin *origin, int file,
                      struct hdf5_sources *sources, struct places *places) STATUS_MUST_USE;

#endif

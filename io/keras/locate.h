/* Where HDF5 keeps each weight of a graph: Keras's legacy format, and that of Keras 3. Internal to io/keras.
 */
#ifndef GODWIT_IO_KERAS_LOCATE_H
#define GODWIT_IO_KERAS_LOCATE_H

#include "io/keras/hdf5_source.h"

/* Finds and checks all weights of an inferred graph below sources->root, the group with "layer_names", of
 * file number `file`: fills in sources and places. DATA error naming the weight that is missing, or of
 * another shape or type than the topology says. */
status locate_weights(const struct topology *topology, const struct origin *origin, int file,
                      struct hdf5_sources *sources, struct places *places) STATUS_MUST_USE;

/* The same for Keras 3's variables below sources->root, the root of .weights.h5. `file` has that HDF5 at
 * `base`; -1: values are not to be read there. */
status locate_variables(const struct topology *topology, int file, int64_t base, struct hdf5_sources *sources,
                        struct places *places) STATUS_MUST_USE;
/* Does the root of an HDF5 file have such variables? */
status locate_has_variables(int64_t root, bool *has) STATUS_MUST_USE;

#endif

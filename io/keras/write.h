/* The formats that models are written in. Internal to io/keras.
 *
 * A format lays out an HDF5 file of weights for a graph, and makes of it what gets the model's name. */
#ifndef GODWIT_IO_KERAS_WRITE_H
#define GODWIT_IO_KERAS_WRITE_H

#include "io/keras/hdf5_writer.h"

struct keras_format {
    /* Everything in the HDF5 file but the values of the weights: adds the weights of all layers that an
     * output needs, in Keras's order. `*config`, owned, may be set to what `pack` wants. */
    status (*lay_out)(struct hdf5_writer *writer, const struct graph *graph, const char *preprocessing,
                      char **config);
    /* Makes the file `to` of the complete HDF5 file `weights`; NULL: that is the model already. */
    status (*pack)(const char *weights, const char *config, const char *to);
};

extern const struct keras_format keras_format_legacy;  /* write_legacy.c: whole-model .h5 */
extern const struct keras_format keras_format_archive; /* write_archive.c: .keras */

#endif

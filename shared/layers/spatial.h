/* Layers that work along the axes of images, (N,H,W,C), or of sequences, (N,T,C); layer_kind.spatial says
 * which. With data_format channels_first their inputs and outputs are (N,C,H,W) or (N,C,T). Inside, all of
 * them see images with channels last, a sequence as an image of height 1. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_SPATIAL_H
#define GODWIT_SHARED_LAYERS_SPATIAL_H

#include "shared/layers/kind.h"

/* Has the layer an attribute data_format, and is it channels_first? */
bool spatial_channels_first(const struct layer *layer);

/* The input's shape as an image (N,H,W,C). DATA error if its rank is another or C is unknown. */
status spatial_image(const struct layer *layer, const struct shape *in, struct shape *image) STATUS_MUST_USE;
/* The layer's output if it is this image: the reverse. */
struct shape spatial_shape(const struct layer *layer, const struct shape *image);

/* The layer's first input as an image. */
status spatial_input(const struct layer *layer, struct lowering *lowering, int *value) STATUS_MUST_USE;
/* Sets the layer's only output to this image, after the layer's activation if it has one. */
status spatial_output(const struct layer *layer, struct lowering *lowering, int value) STATUS_MUST_USE;
/* The same for the image that the operation makes. */
status spatial_output_op(const struct layer *layer, struct lowering *lowering, const struct op *op,
                         const struct shape *image) STATUS_MUST_USE;

/* layer_kind.channels: as the input's; fresh ones; all kept whole if they come first. */
status spatial_channels_same(const struct layer *layer, struct channels *channels);
status spatial_channels_fresh(const struct layer *layer, struct channels *channels);

#endif

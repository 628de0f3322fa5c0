/* Sliding windows of convolutions and pooling layers. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_WINDOW_H
#define GODWIT_SHARED_LAYERS_WINDOW_H

#include "shared/layers/kind.h"

#define ATTR_KERNEL_SIZE                                                                                     \
    { .name = "kernel_size", .type = ATTR_INTS, .length = 2 }
#define ATTR_STRIDES                                                                                         \
    { .name = "strides", .type = ATTR_INTS, .initial = "1,1", .length = 2 }
#define ATTR_DILATION_RATE                                                                                   \
    { .name = "dilation_rate", .type = ATTR_INTS, .initial = "1,1", .length = 2 }

/* The window a layer slides over images of shape `in`, and the height and width that come out. Size from the
 * attribute "kernel_size" or "pool_size", whichever the layer has; "strides" (null: the size), "padding" and,
 * if the layer has it, "dilation_rate". Where an input dimension is unknown, so is the output's, and padding
 * that would depend on it is left as for an input that the stride divides. DATA error if nothing comes out.
 */
status window_of_layer(const struct layer *layer, const struct shape *in, struct window *window,
                       int64_t out[2]) STATUS_MUST_USE;

#endif

/* Sliding windows of convolutions and pooling layers. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_WINDOW_H
#define GODWIT_SHARED_LAYERS_WINDOW_H

#include "shared/layers/spatial.h"

/* Of layers that are spatial in n axes. */
#define ATTR_KERNEL_SIZE(n)                                                                                  \
    { .name = "kernel_size", .type = ATTR_INTS, .length = (n) }
#define ATTR_STRIDES(n)                                                                                      \
    { .name = "strides", .type = ATTR_INTS, .initial = "1", .length = (n) }
#define ATTR_DILATION_RATE(n)                                                                                \
    { .name = "dilation_rate", .type = ATTR_INTS, .initial = "1", .length = (n) }
/* Of convolutions, whose windows may also end at the present step of a sequence. */
#define ATTR_CONV_PADDING(n)                                                                                 \
    {                                                                                                        \
        .name = "padding", .type = ATTR_STRING, .initial = "valid",                                          \
        .choices = (n) == 1 ? "valid|same|causal" : "valid|same"                                             \
    }

/* Sizes, strides and dilations of the window a layer slides over images; of a sequence's height they are 1.
 * Size from the attribute "kernel_size" or "pool_size", whichever the layer has; "strides" (null: the size)
 * and, if the layer has it, "dilation_rate". Nothing is padded yet. DATA error for numbers out of range. */
status window_read(const struct layer *layer, struct window *window) STATUS_MUST_USE;

/* The same, padded as the attribute "padding" says for an image, and the height and width that come out.
 * Where one of the image is unknown, so is the output's, and padding that would depend on it is left as for
 * an input that the stride divides. DATA error if nothing comes out. `out` may lie in *image. */
status window_of_layer(const struct layer *layer, const struct shape *image, struct window *window,
                       int64_t out[2]) STATUS_MUST_USE;

/* A kernel over `size` (one number for each axis of the layer) and two more axes of `rows` and `columns`,
 * which are axes kind->spatial and kind->spatial + 1. in_axis and out_axis are -1. */
struct weight window_kernel(const struct layer *layer, const char *name, const int64_t *size, int64_t rows,
                            int64_t columns);
/* Indexed by the output's channels, if the layer has one. */
struct weight window_bias(int64_t channels);

#endif

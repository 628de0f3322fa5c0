/* MaxPooling1D, MaxPooling2D, AveragePooling1D, AveragePooling2D. */
#include "shared/layers/window.h"

#define POOLING_ATTRS(n)                                                                                     \
    {.name = "pool_size", .type = ATTR_INTS, .initial = "2", .length = (n)},                                 \
        {.name = "strides", .type = ATTR_INTS, .initial = "null", .length = (n)}, ATTR_PADDING,              \
        ATTR_DATA_FORMAT

static const struct attr_spec attrs1d[] = {POOLING_ATTRS(1)};
static const struct attr_spec attrs2d[] = {POOLING_ATTRS(2)};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(window_of_layer(layer, &image, &window, &image.dim[1]));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering, enum pool kind) {
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_POOL, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    op.u.pool.kind = kind;
    STATUS_TRY(window_of_layer(layer, &shape, &op.u.pool.window, &shape.dim[1]));
    return spatial_output_op(layer, lowering, &op, &shape);
}

static status lower_max(const struct layer *layer, struct lowering *lowering) {
    return lower(layer, lowering, POOL_MAX);
}

static status lower_average(const struct layer *layer, struct lowering *lowering) {
    return lower(layer, lowering, POOL_MEAN);
}

#define POOLING_KIND(symbol, text, n, table, lowers)                                                         \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = 1,                                                                                     \
        .spatial = n,                                                                                        \
        .infer = infer,                                                                                      \
        .channels = spatial_channels_same,                                                                   \
        .lower = lowers,                                                                                     \
    }

POOLING_KIND(max_pooling1d, "MaxPooling1D", 1, attrs1d, lower_max);
POOLING_KIND(max_pooling2d, "MaxPooling2D", 2, attrs2d, lower_max);
POOLING_KIND(average_pooling1d, "AveragePooling1D", 1, attrs1d, lower_average);
POOLING_KIND(average_pooling2d, "AveragePooling2D", 2, attrs2d, lower_average);

/* MaxPooling2D and AveragePooling2D. */
#include "shared/layers/window.h"

static const struct attr_spec attrs[] = {
    {.name = "pool_size", .type = ATTR_INTS, .initial = "2,2", .length = 2},
    {.name = "strides", .type = ATTR_INTS, .initial = "null", .length = 2},
    ATTR_PADDING,
    ATTR_DATA_FORMAT,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    (void)nin;
    out[0] = in[0];
    *nout = 1;
    return window_of_layer(layer, &in[0], &window, &out[0].dim[1]);
}

static status lower(const struct layer *layer, struct lowering *lowering, enum pool kind) {
    int in = lowering->in[0];
    struct op op = op_make(OP_POOL, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    op.u.pool.kind = kind;
    STATUS_TRY(window_of_layer(layer, lowering_shape(lowering, in), &op.u.pool.window, &shape.dim[1]));
    return kind_lower_op(layer, lowering, &op, &shape);
}

static status lower_max(const struct layer *layer, struct lowering *lowering) {
    return lower(layer, lowering, POOL_MAX);
}

static status lower_average(const struct layer *layer, struct lowering *lowering) {
    return lower(layer, lowering, POOL_MEAN);
}

const struct layer_kind layer_kind_max_pooling2d = {
    .class_name = "MaxPooling2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower_max,
};

const struct layer_kind layer_kind_average_pooling2d = {
    .class_name = "AveragePooling2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower_average,
};

/* GlobalAveragePooling2D and GlobalMaxPooling2D. */
#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    ATTR_DATA_FORMAT,
    {.name = "keepdims", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_NEWER},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    (void)nin;
    STATUS_TRY(kind_image(&in[0]));
    out[0] = layer_bool(layer, "keepdims") ? SHAPE(in[0].dim[0], 1, 1, in[0].dim[3])
                                           : SHAPE(in[0].dim[0], in[0].dim[3]);
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering, enum reduce kind) {
    int in = lowering->in[0];
    struct op op = op_make(OP_REDUCE, &in, 1);
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, in), 1, &shape, &lowering->nout));
    op.u.reduce.kind = kind;
    op.u.reduce.axes = 1u << 1 | 1u << 2;
    return kind_lower_op(layer, lowering, &op, &shape);
}

static status lower_average(const struct layer *layer, struct lowering *lowering) {
    return lower(layer, lowering, REDUCE_MEAN);
}

static status lower_max(const struct layer *layer, struct lowering *lowering) {
    return lower(layer, lowering, REDUCE_MAX);
}

const struct layer_kind layer_kind_global_average_pooling2d = {
    .class_name = "GlobalAveragePooling2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower_average,
};

const struct layer_kind layer_kind_global_max_pooling2d = {
    .class_name = "GlobalMaxPooling2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower_max,
};

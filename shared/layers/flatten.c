#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    ATTR_DATA_FORMAT,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    (void)layer, (void)nin;
    out[0] = SHAPE(in[0].dim[0], shape_sample_count(&in[0])); /* -1 is SHAPE_UNKNOWN */
    *nout = 1;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    (void)layer;
    return channels_tile(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_RESHAPE, &in, 1);
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, in), 1, &shape, &lowering->nout));
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_flatten = {
    .class_name = "Flatten",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = channels,
    .lower = lower,
};

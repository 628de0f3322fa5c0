/* x > theta ? x : 0. Keras 2 only. */
#include "shared/layers/kind.h"

#include <math.h>

static const struct attr_spec attrs[] = {
    {.name = "theta", .type = ATTR_FLOAT, .initial = "1"},
};

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_ACTIVATION, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    op.u.act.kind = ACTIVATION_RELU;
    op.u.act.beta = INFINITY;
    op.u.act.gamma = (float)layer_float(layer, "theta");
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_thresholded_relu = {
    .class_name = "ThresholdedReLU",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .infer = kind_infer_same,
    .channels = kind_channels_same,
    .lower = lower,
};

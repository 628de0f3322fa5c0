#include "shared/layers/emit.h"
#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INT, .initial = "-1"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    int axis;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), in[0].rank, &axis));
    if (axis == 0) return status_fail(STATUS_UNSUPPORTED, "axis 0, over the batch, is not supported");
    return kind_infer_same(layer, in, nin, out, nout);
}

/* Over the channels, all of them matter to each. */
static status channels(const struct layer *layer, struct channels *c) {
    int axis;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), c->in[0].rank, &axis));
    return axis == c->in[0].rank - 1 ? channels_fix(c) : channels_same(c);
}

/* Keras adds -1e9 where the mask is zero. */
static status add_mask(struct lowering *lowering, int *value) {
    int mask = lowering->mask[0], bias;
    char text[SHAPE_TEXT_MAX];
    if (mask < 0) return SUCCESS;
    if (lowering_shape(lowering, mask)->rank != lowering_shape(lowering, *value)->rank)
        return status_fail(STATUS_UNSUPPORTED,
                           "a mask of time steps on an input of shape %s is not supported",
                           shape_format(lowering_shape(lowering, *value), text));
    STATUS_TRY(emit_affine(lowering, mask, 1e9f, -1e9f, &bias));
    return emit_binary(lowering, BINARY_ADD, *value, bias, value);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    STATUS_TRY(add_mask(lowering, &in));
    struct op op = op_make(OP_SOFTMAX, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), shape.rank, &op.u.axis.axis));
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_softmax = {
    .class_name = "Softmax",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .infer = infer,
    .channels = channels,
    .lower = lower,
};

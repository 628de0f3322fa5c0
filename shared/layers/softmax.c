#include "shared/layers/axes.h"
#include "shared/layers/emit.h"

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INTS, .initial = "-1"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape shape;
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", in[0].rank, &axes));
    if (!axes) return status_fail(STATUS_DATA, "attribute \"axis\" lists no axis");
    if (layer_attr(layer, "axis")->u.ints.n > 1) STATUS_TRY(axes_shape(&in[0], axes, &shape));
    return kind_infer_same(layer, in, nin, out, nout);
}

/* Over the channels, all of them matter to each. */
static status channels(const struct layer *layer, struct channels *c) {
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", c->in[0].rank, &axes));
    return axes_have_last(axes, c->in[0].rank) ? channels_fix(c) : channels_same(c);
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

/* Over one axis, or over several joined to one. */
static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0];
    const struct shape in = *lowering_shape(lowering, value);
    unsigned axes;
    bool several = layer_attr(layer, "axis")->u.ints.n > 1;
    STATUS_TRY(axes_read(layer, "axis", in.rank, &axes));
    STATUS_TRY(add_mask(lowering, &value));
    if (several) STATUS_TRY(axes_join(lowering, axes, &value));
    struct op op = op_make(OP_SOFTMAX, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.u.axis.axis = several ? shape.rank - 1 : __builtin_ctz(axes);
    STATUS_TRY(kind_lower_op(layer, lowering, &op, &shape));
    return several ? axes_split(lowering, axes, &in, &lowering->out[0]) : SUCCESS;
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

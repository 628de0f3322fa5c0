#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    {.name = "rate", .type = ATTR_FLOAT},
    {.name = "noise_shape", .type = ATTR_SHAPE, .initial = "null"},
};

static status check(const struct layer *layer) {
    const struct attr *noise = layer_attr(layer, "noise_shape");
    char text[SHAPE_TEXT_MAX];
    if (!noise->present) return SUCCESS;
    struct shape shape = {.rank = noise->u.ints.n < SHAPE_MAX_RANK ? noise->u.ints.n : SHAPE_MAX_RANK};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = noise->u.ints.v[i];
    return status_fail(STATUS_UNSUPPORTED, "noise_shape %s is not supported; leave it out",
                       shape_format(&shape, text));
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    double rate = layer_float(layer, "rate");
    if (!(rate >= 0 && rate < 1))
        return status_fail(STATUS_DATA, "rate is %g; it must be at least 0 and below 1", rate);
    return kind_infer_same(layer, in, nin, out, nout);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_DROPOUT, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    op.u.dropout.rate = (float)layer_float(layer, "rate");
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_dropout = {
    .class_name = "Dropout",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .check = check,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower,
};

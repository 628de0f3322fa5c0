#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INT, .initial = "-1"},
    {.name = "momentum", .type = ATTR_FLOAT, .initial = "0.99"},
    {.name = "epsilon", .type = ATTR_FLOAT, .initial = "0.001"},
    {.name = "center", .type = ATTR_BOOL, .initial = "true"},
    {.name = "scale", .type = ATTR_BOOL, .initial = "true"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    char text[SHAPE_TEXT_MAX];
    int axis;
    (void)nin;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), in[0].rank, &axis));
    if (axis != in[0].rank - 1)
        return status_fail(STATUS_UNSUPPORTED,
                           "axis %" PRId64 " of an input of shape %s is not supported; use the last axis",
                           layer_int(layer, "axis"), shape_format(&in[0], text));
    if (in[0].rank < 2 || in[0].dim[axis] < 1)
        return status_fail(STATUS_DATA, "its input has shape %s; the last dimension must be known",
                           shape_format(&in[0], text));
    if (!(layer_float(layer, "epsilon") >= 0))
        return status_fail(STATUS_DATA, "epsilon is %g; it must not be negative",
                           layer_float(layer, "epsilon"));
    out[0] = in[0];
    *nout = 1;
    return SUCCESS;
}

static struct weight vector(const char *name, int64_t n, bool trainable) {
    return (struct weight){
        .name = name, .shape = SHAPE(n), .trainable = trainable, .in_axis = 0, .out_axis = 0};
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int64_t channels = in[0].dim[in[0].rank - 1];
    int n = 0;
    (void)nin;
    if (layer_bool(layer, "scale")) weight[n++] = vector("gamma", channels, true);
    if (layer_bool(layer, "center")) weight[n++] = vector("beta", channels, true);
    weight[n++] = vector("moving_mean", channels, false);
    weight[n++] = vector("moving_variance", channels, false);
    *nweights = n;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0], n = 0;
    struct op op = op_make(OP_BATCH_NORM, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    if (layer_bool(layer, "scale")) op.param[0] = lowering->param[n++];
    if (layer_bool(layer, "center")) op.param[1] = lowering->param[n++];
    op.param[2] = lowering->param[n++];
    op.param[3] = lowering->param[n++];
    op.u.norm.epsilon = (float)layer_float(layer, "epsilon");
    op.u.norm.momentum = (float)layer_float(layer, "momentum");
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_batch_normalization = {
    .class_name = "BatchNormalization",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .infer = infer,
    .weights = weights,
    .channels = kind_channels_same,
    .lower = lower,
};

/* Statistics of the axis "axis". A mask says which steps count for the statistics in Keras 3's training; here
 * all of them do. */
#include "shared/layers/axes.h"

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INT, .initial = "-1"},
    {.name = "momentum", .type = ATTR_FLOAT, .initial = "0.99"},
    {.name = "epsilon", .type = ATTR_FLOAT, .initial = "0.001"},
    {.name = "center", .type = ATTR_BOOL, .initial = "true"},
    {.name = "scale", .type = ATTR_BOOL, .initial = "true"},
};

static status read_axis(const struct layer *layer, const struct shape *in, int *axis) {
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), in->rank, axis));
    if (*axis == 0) return status_fail(STATUS_UNSUPPORTED, "axis 0, over the batch, is not supported");
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape channels;
    int axis;
    STATUS_TRY(read_axis(layer, &in[0], &axis));
    STATUS_TRY(axes_shape(&in[0], 1u << axis, &channels));
    if (!(layer_float(layer, "epsilon") >= 0))
        return status_fail(STATUS_DATA, "epsilon is %g; it must not be negative",
                           layer_float(layer, "epsilon"));
    return kind_infer_same(layer, in, nin, out, nout);
}

static struct weight vector(const char *name, int64_t n, bool last, bool trainable) {
    int axis = last ? 0 : -1; /* other axes than the last are never narrowed */
    return (struct weight){
        .name = name, .shape = SHAPE(n), .trainable = trainable, .in_axis = axis, .out_axis = axis};
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int n = 0, axis;
    (void)nin;
    STATUS_TRY(read_axis(layer, &in[0], &axis));
    int64_t channels = in[0].dim[axis];
    bool last = axis == in[0].rank - 1;
    if (layer_bool(layer, "scale")) weight[n++] = vector("gamma", channels, last, true);
    if (layer_bool(layer, "center")) weight[n++] = vector("beta", channels, last, true);
    weight[n++] = vector("moving_mean", channels, last, false);
    weight[n++] = vector("moving_variance", channels, last, false);
    *nweights = n;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0], axis, n = 0;
    const struct shape shape = *lowering_shape(lowering, value);
    STATUS_TRY(read_axis(layer, &shape, &axis));
    STATUS_TRY(axes_join(lowering, 1u << axis, &value));
    struct op op = op_make(OP_BATCH_NORM, &value, 1);
    const struct shape moved = *lowering_shape(lowering, value);
    if (layer_bool(layer, "scale")) op.param[0] = lowering->param[n++];
    if (layer_bool(layer, "center")) op.param[1] = lowering->param[n++];
    op.param[2] = lowering->param[n++];
    op.param[3] = lowering->param[n++];
    op.u.norm.epsilon = (float)layer_float(layer, "epsilon");
    op.u.norm.momentum = (float)layer_float(layer, "momentum");
    STATUS_TRY(lowering_add(lowering, &op, &moved, &value));
    STATUS_TRY(axes_split(lowering, 1u << axis, &shape, &value));
    lowering->out[0] = value;
    lowering->nout = 1;
    return SUCCESS;
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

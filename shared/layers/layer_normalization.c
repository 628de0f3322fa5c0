/* LayerNormalization and RMSNormalization.
 *
 * Channels may be pruned: what is left is normalized by its own statistics, and the layers after it are
 * refitted to that. */
#include "shared/layers/axes.h"
#include "shared/layers/emit.h"

static const struct attr_spec layer_attrs[] = {
    {.name = "axis", .type = ATTR_INTS, .initial = "-1"},
    {.name = "epsilon", .type = ATTR_FLOAT, .initial = "0.001"},
    {.name = "center", .type = ATTR_BOOL, .initial = "true"},
    {.name = "scale", .type = ATTR_BOOL, .initial = "true"},
    {.name = "rms_scaling", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_KERAS3_ONLY},
};

static const struct attr_spec rms_attrs[] = {
    {.name = "axis", .type = ATTR_INTS, .initial = "-1"},
    {.name = "epsilon", .type = ATTR_FLOAT, .initial = "1e-6"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape shape;
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", in[0].rank, &axes));
    STATUS_TRY(axes_shape(&in[0], axes, &shape));
    if (!axes) return status_fail(STATUS_DATA, "attribute \"axis\" lists no axis");
    if (!(layer_float(layer, "epsilon") >= 0))
        return status_fail(STATUS_DATA, "epsilon is %g; it must not be negative",
                           layer_float(layer, "epsilon"));
    return kind_infer_same(layer, in, nin, out, nout);
}

/* A weight over the axes, as the file lists them; operations take them in ascending order. */
static status axes_weight(const struct layer *layer, const struct shape *in, const char *name,
                          struct weight *weight) {
    const struct attr *axis = layer_attr(layer, "axis");
    unsigned axes;
    *weight = (struct weight){.name = name, .trainable = true, .in_axis = -1, .out_axis = -1};
    STATUS_TRY(axes_read(layer, "axis", in->rank, &axes));
    STATUS_TRY(axes_shape(in, axes, &weight->view));
    weight->shape.rank = axis->u.ints.n;
    for (int i = 0; i < axis->u.ints.n; i++) {
        int at;
        STATUS_TRY(kind_axis("axis", axis->u.ints.v[i], in->rank, &at));
        weight->shape.dim[i] = in->dim[at];
        if (at == in->rank - 1) weight->in_axis = weight->out_axis = i;
    }
    return SUCCESS;
}

static bool has_rms_scaling(const struct layer *layer) {
    return layer_bool(layer, "rms_scaling");
}

static bool has_gamma(const struct layer *layer) {
    return layer_bool(layer, "scale") || has_rms_scaling(layer);
}

static bool has_beta(const struct layer *layer) {
    return layer_bool(layer, "center") && !has_rms_scaling(layer);
}

static status weights_of_layer(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                            int *nweights) {
    int n = 0;
    (void)nin;
    if (has_gamma(layer)) STATUS_TRY(axes_weight(layer, &in[0], "gamma", &weight[n++]));
    if (has_beta(layer)) STATUS_TRY(axes_weight(layer, &in[0], "beta", &weight[n++]));
    *nweights = n;
    return SUCCESS;
}

/* x / sqrt(mean of the squares of `deviation` + epsilon) * gamma; the axes have been joined. */
static status scale_by_deviation(const struct layer *layer, struct lowering *lowering, int value,
                                 int deviation, int *out) {
    struct activation_function inverse = {.kind = ACTIVATION_RSQRT,
                                          .beta = (float)layer_float(layer, "epsilon")};
    int last = lowering_shape(lowering, value)->rank - 1;
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, deviation, deviation, &deviation));
    STATUS_TRY(emit_reduce(lowering, REDUCE_MEAN, deviation, last, true, &deviation));
    STATUS_TRY(emit_activation(lowering, &inverse, deviation, &deviation));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, value, deviation, &value));
    return emit_scale(lowering, value, lowering->param[0], -1, out);
}

/* `about_mean`: by the variance (LayerNormalization's rms_scaling), else by the mean of the squares. */
static status lower_rms(const struct layer *layer, struct lowering *lowering, bool about_mean) {
    int value = lowering->in[0], deviation, mean;
    const struct shape shape = *lowering_shape(lowering, value);
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", shape.rank, &axes));
    STATUS_TRY(axes_join(lowering, axes, &value));
    deviation = value;
    if (about_mean) {
        int last = lowering_shape(lowering, value)->rank - 1;
        STATUS_TRY(emit_reduce(lowering, REDUCE_MEAN, value, last, true, &mean));
        STATUS_TRY(emit_binary(lowering, BINARY_SUB, value, mean, &deviation));
    }
    STATUS_TRY(scale_by_deviation(layer, lowering, value, deviation, &value));
    lowering->nout = 1;
    lowering->out[0] = value;
    return axes_split(lowering, axes, &shape, &lowering->out[0]);
}

static status lower_layer(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0], n = 0;
    struct op op = op_make(OP_LAYER_NORM, &in, 1);
    const struct shape shape = *lowering_shape(lowering, in);
    if (has_rms_scaling(layer)) return lower_rms(layer, lowering, true);
    STATUS_TRY(axes_read(layer, "axis", shape.rank, &op.u.norm.axes));
    if (has_gamma(layer)) op.param[0] = lowering->param[n++];
    if (has_beta(layer)) op.param[1] = lowering->param[n++];
    op.u.norm.epsilon = (float)layer_float(layer, "epsilon");
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_layer_normalization = {
    .class_name = "LayerNormalization",
    ATTRS(layer_attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .infer = infer,
    .weights = weights_of_layer,
    .channels = kind_channels_same,
    .lower = lower_layer,
};

static status rms_weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                          int *nweights) {
    (void)nin;
    STATUS_TRY(axes_weight(layer, &in[0], "scale", &weight[0]));
    weight[0].view = (struct shape){0};
    STATUS_TRY(shape_count(&weight[0].shape, &weight[0].view.dim[0]));
    weight[0].view.rank = 1;
    *nweights = 1;
    return SUCCESS;
}

static status rms_lower(const struct layer *layer, struct lowering *lowering) {
    return lower_rms(layer, lowering, false);
}

const struct layer_kind layer_kind_rms_normalization = {
    .class_name = "RMSNormalization",
    ATTRS(rms_attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .positionwise = true,
    .infer = infer,
    .weights = rms_weights,
    .channels = kind_channels_same,
    .lower = rms_lower,
};

/* (x - mean) / max(sqrt(variance), 1e-7), or with "invert" x * max(sqrt(variance), 1e-7) + mean; mean and
 * variance are weights, found by Keras's adapt(), or constants in the attributes. One of each for every
 * index of the axes "axis", or one for all if there are none. */
#include "shared/layers/axes.h"
#include "shared/layers/emit.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INTS, .initial = "-1"},
    {.name = "mean", .type = ATTR_FLOATS, .initial = "null"},
    {.name = "variance", .type = ATTR_FLOATS, .initial = "null"},
    {.name = "invert", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_KERAS3_ONLY},
};

#define LEAST_DEVIATION 1e-7

/* Number i of n of a constant, given for all of them, for those of the last axes, or once. */
static float constant(const struct layer *layer, const char *name, int64_t i) {
    const struct attr *attr = layer_attr(layer, name);
    return (float)attr->u.floats.v[i % attr->u.floats.n];
}

static bool is_constant(const struct layer *layer) {
    return layer_attr(layer, "mean")->present;
}

/* The axes, and the shape and number of what they index. */
static status read_axes(const struct layer *layer, const struct shape *in, unsigned *axes,
                        struct shape *shape, int64_t *count) {
    STATUS_TRY(axes_read(layer, "axis", in->rank, axes));
    STATUS_TRY(axes_shape(in, *axes, shape));
    return shape_count(shape, count);
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    static const char *const names[] = {"mean", "variance"};
    struct shape shape;
    unsigned axes;
    int64_t count;
    STATUS_TRY(read_axes(layer, &in[0], &axes, &shape, &count));
    if (layer_attr(layer, names[0])->present != layer_attr(layer, names[1])->present)
        return status_fail(STATUS_DATA, "only one of \"mean\" and \"variance\" is given");
    for (int i = 0; i < 2 && is_constant(layer); i++) {
        int n = layer_attr(layer, names[i])->u.floats.n;
        int64_t last = shape.rank ? shape.dim[shape.rank - 1] : 1;
        if (n < 1 || (n != 1 && n != last && n != count) || count > INT32_MAX)
            return status_fail(STATUS_DATA, "attribute \"%s\" has %d numbers; it takes %" PRId64, names[i], n,
                               count);
    }
    return kind_infer_same(layer, in, nin, out, nout);
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    struct shape shape;
    unsigned axes;
    int64_t count;
    int n = 0;
    (void)nin;
    *nweights = 0;
    if (is_constant(layer)) return SUCCESS;
    STATUS_TRY(read_axes(layer, &in[0], &axes, &shape, &count));
    int follows = axes == 1u << (in[0].rank - 1) ? 0 : -1;
    struct weight statistic = {.shape = shape, .view = SHAPE(count), .in_axis = follows, .out_axis = follows};
    weight[n] = statistic;
    weight[n++].name = "mean";
    weight[n] = statistic;
    weight[n++].name = "variance";
    weight[n++] = (struct weight){.name = "count", .view = SHAPE(1), .in_axis = -1, .out_axis = -1};
    *nweights = n;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", c->in[0].rank, &axes));
    bool last = axes_have_last(axes, c->in[0].rank), alone = axes == 1u << (c->in[0].rank - 1);
    return !last || (alone && !is_constant(layer)) ? channels_same(c) : channels_fix(c);
}

/* With constants: x * scale + offset on the joined axes. */
static status lower_constants(const struct layer *layer, struct lowering *lowering, int64_t count, int value,
                              int *out) {
    struct op op = op_make(OP_AFFINE, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.u.affine.n = (int)count;
    op.u.affine.scale = calloc((size_t)count, sizeof(float));
    op.u.affine.offset = calloc((size_t)count, sizeof(float));
    if (!op.u.affine.scale || !op.u.affine.offset) {
        free(op.u.affine.scale);
        free(op.u.affine.offset);
        return status_no_memory("constants", 2 * (size_t)count * sizeof(float));
    }
    for (int64_t i = 0; i < count; i++) {
        double mean = constant(layer, "mean", i),
               deviation = fmax(sqrt((double)constant(layer, "variance", i)), LEAST_DEVIATION);
        bool invert = layer_bool(layer, "invert");
        op.u.affine.scale[i] = (float)(invert ? deviation : 1 / deviation);
        op.u.affine.offset[i] = (float)(invert ? mean : -mean / deviation);
    }
    return lowering_add(lowering, &op, &shape, out);
}

/* x * deviation + mean; the deviations as 1 / (1 / sqrt(variance)), of the variances multiplied by ones. */
static status lower_inverted(struct lowering *lowering, int value, int *out) {
    struct activation_function inverse = {.kind = ACTIVATION_RSQRT,
                                          .gamma = (float)(LEAST_DEVIATION * LEAST_DEVIATION)};
    int deviation;
    STATUS_TRY(emit_affine(lowering, value, 0, 1, &deviation));
    STATUS_TRY(emit_scale(lowering, deviation, lowering->param[1], -1, &deviation));
    STATUS_TRY(emit_activation(lowering, &inverse, deviation, &deviation));
    STATUS_TRY(emit_binary(lowering, BINARY_DIV, value, deviation, &value));
    return emit_scale(lowering, value, -1, lowering->param[0], out);
}

/* A batch normalization whose statistics never change, with an epsilon that does for the least deviation. */
static status lower_fixed(struct lowering *lowering, int value, int *out) {
    struct op op = op_make(OP_BATCH_NORM, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.param[2] = lowering->param[0];
    op.param[3] = lowering->param[1];
    op.u.norm.epsilon = (float)(LEAST_DEVIATION * LEAST_DEVIATION);
    op.u.norm.fixed = true;
    return lowering_add(lowering, &op, &shape, out);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0];
    const struct shape in = *lowering_shape(lowering, value);
    struct shape shape;
    unsigned axes;
    int64_t count;
    STATUS_TRY(read_axes(layer, &in, &axes, &shape, &count));
    STATUS_TRY(axes_join(lowering, axes, &value));
    STATUS_TRY(is_constant(layer)            ? lower_constants(layer, lowering, count, value, &value)
               : layer_bool(layer, "invert") ? lower_inverted(lowering, value, &value)
                                             : lower_fixed(lowering, value, &value));
    STATUS_TRY(axes_split(lowering, axes, &in, &value));
    lowering->out[0] = value;
    lowering->nout = 1;
    if (lowering->keras_version >= 3) lowering->out_mask[0] = lowering->mask[0];
    return SUCCESS;
}

const struct layer_kind layer_kind_normalization = {
    .class_name = "Normalization",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
};

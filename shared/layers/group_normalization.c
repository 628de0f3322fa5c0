/* The channels of "axis" in groups, each normalized with everything else of the sample. */
#include "shared/layers/axes.h"
#include "shared/layers/emit.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "groups", .type = ATTR_INT, .initial = "32"}, /* -1: as many as channels */
    {.name = "axis", .type = ATTR_INT, .initial = "-1"},
    {.name = "epsilon", .type = ATTR_FLOAT, .initial = "0.001"},
    {.name = "center", .type = ATTR_BOOL, .initial = "true"},
    {.name = "scale", .type = ATTR_BOOL, .initial = "true"},
};

static status read_groups(const struct layer *layer, const struct shape *in, int *axis, int64_t *groups) {
    struct shape channels;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), in->rank, axis));
    if (*axis == 0) return status_fail(STATUS_UNSUPPORTED, "axis 0, over the batch, is not supported");
    STATUS_TRY(axes_shape(in, 1u << *axis, &channels));
    *groups = layer_int(layer, "groups") == -1 ? channels.dim[0] : layer_int(layer, "groups");
    if (*groups < 1 || channels.dim[0] % *groups)
        return status_fail(STATUS_DATA, "%" PRId64 " groups do not divide %" PRId64 " channels", *groups,
                           channels.dim[0]);
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    char text[SHAPE_TEXT_MAX];
    int64_t groups;
    int axis;
    if (in[0].rank == SHAPE_MAX_RANK)
        return status_fail(STATUS_UNSUPPORTED, "an input of shape %s is not supported; it can have %d axes",
                           shape_format(&in[0], text), SHAPE_MAX_RANK - 1);
    STATUS_TRY(read_groups(layer, &in[0], &axis, &groups));
    if (!(layer_float(layer, "epsilon") >= 0))
        return status_fail(STATUS_DATA, "epsilon is %g; it must not be negative",
                           layer_float(layer, "epsilon"));
    return kind_infer_same(layer, in, nin, out, nout);
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int n = 0, axis;
    int64_t groups;
    (void)nin;
    STATUS_TRY(read_groups(layer, &in[0], &axis, &groups));
    int follows = axis == in[0].rank - 1 ? 0 : -1;
    struct weight vector = {
        .shape = SHAPE(in[0].dim[axis]), .trainable = true, .in_axis = follows, .out_axis = follows};
    const char *const names[] = {"gamma", "beta"}, *const attr[] = {"scale", "center"};
    for (int i = 0; i < 2; i++) {
        if (!layer_bool(layer, attr[i])) continue;
        weight[n] = vector;
        weight[n++].name = names[i];
    }
    *nweights = n;
    return SUCCESS;
}

/* Channels of one group, or each on its own, may be pruned as in a layer normalization. */
static status channels(const struct layer *layer, struct channels *c) {
    int64_t groups = layer_int(layer, "groups");
    int axis;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), c->in[0].rank, &axis));
    bool free = groups == 1 || groups == -1 || axis != c->in[0].rank - 1;
    return free ? channels_same(c) : channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0], axis, n = 0;
    const struct shape shape = *lowering_shape(lowering, value);
    int64_t groups;
    STATUS_TRY(read_groups(layer, &shape, &axis, &groups));
    struct shape split = {.rank = shape.rank + 1};
    for (int i = 0; i < split.rank; i++) split.dim[i] = shape.dim[i <= axis ? i : i - 1];
    split.dim[axis] = groups;
    split.dim[axis + 1] = shape.dim[axis] / groups;
    STATUS_TRY(emit_reshape(lowering, value, &split, &value));
    struct op norm = op_make(OP_LAYER_NORM, &value, 1);
    norm.u.norm.axes = ((1u << split.rank) - 1) & ~(1u | 1u << axis);
    norm.u.norm.epsilon = (float)layer_float(layer, "epsilon");
    STATUS_TRY(lowering_add(lowering, &norm, &split, &value));
    STATUS_TRY(emit_reshape(lowering, value, &shape, &value));
    int gamma = layer_bool(layer, "scale") ? lowering->param[n++] : -1;
    int beta = layer_bool(layer, "center") ? lowering->param[n++] : -1;
    if (n) {
        STATUS_TRY(axes_join(lowering, 1u << axis, &value));
        STATUS_TRY(emit_scale(lowering, value, gamma, beta, &value));
        STATUS_TRY(axes_split(lowering, 1u << axis, &shape, &value));
    }
    lowering->out[0] = value;
    lowering->nout = 1;
    return SUCCESS;
}

const struct layer_kind layer_kind_group_normalization = {
    .class_name = "GroupNormalization",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
};

/* Products of all vectors along one axis of the first input with all those along one of the second: the other
 * axes of the first, then those of the second remain. */
#include "shared/layers/axes.h"
#include "shared/layers/emit.h"
#include "shared/layers/unit.h"

static const struct attr_spec attrs[] = {
    {.name = "axes", .type = ATTR_INTS, .length = 2},
    {.name = "normalize", .type = ATTR_BOOL, .initial = "false"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const int64_t *axes = layer_attr(layer, "axes")->u.ints.v;
    char left[SHAPE_TEXT_MAX], right[SHAPE_TEXT_MAX];
    int axis[2];
    (void)nin;
    for (int i = 0; i < 2; i++) {
        STATUS_TRY(kind_axis("axes", axes[i], in[i].rank, &axis[i]));
        if (axis[i] == 0) return status_fail(STATUS_DATA, "attribute \"axes\" has 0, the batch");
    }
    int rank = in[0].rank + in[1].rank - 3;
    if (in[0].dim[axis[0]] < 1 || in[0].dim[axis[0]] != in[1].dim[axis[1]] || rank > SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "axis %d of an input of shape %s does not fit axis %d of %s", axis[0],
                           shape_format(&in[0], left), axis[1], shape_format(&in[1], right));
    struct shape shape = {.rank = 1, .dim = {in[0].dim[0]}};
    for (int k = 0; k < 2; k++)
        for (int i = 1; i < in[k].rank; i++)
            if (i != axis[k]) shape.dim[shape.rank++] = in[k].dim[i];
    if (shape.rank == 1) shape.dim[shape.rank++] = 1;
    out[0] = shape;
    *nout = 1;
    return SUCCESS;
}

/* Input k as a matrix of its vectors for each sample: (N, the other axes, the axis). */
static status vectors(const struct layer *layer, struct lowering *lowering, int k, int *value) {
    int axis;
    *value = lowering->in[k];
    STATUS_TRY(kind_axis("axes", layer_attr(layer, "axes")->u.ints.v[k],
                         lowering_shape(lowering, *value)->rank, &axis));
    STATUS_TRY(axes_join(lowering, 1u << axis, value));
    struct shape joined = *lowering_shape(lowering, *value);
    int64_t length = joined.dim[joined.rank - 1], all = shape_sample_count(&joined);
    struct shape matrix = SHAPE(joined.dim[0], all < 0 ? SHAPE_UNKNOWN : all / length, length);
    STATUS_TRY(emit_reshape(lowering, *value, &matrix, value));
    return layer_bool(layer, "normalize") ? unit_length(lowering, 1u << 2, *value, value) : SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    struct shape shape, in[2];
    int a, b;
    for (int i = 0; i < 2; i++) in[i] = *lowering_shape(lowering, lowering->in[i]);
    STATUS_TRY(infer(layer, in, 2, &shape, &lowering->nout));
    STATUS_TRY(vectors(layer, lowering, 0, &a));
    STATUS_TRY(vectors(layer, lowering, 1, &b));
    STATUS_TRY(emit_matmul(lowering, a, b, true, 1, &a));
    return emit_reshape(lowering, a, &shape, &lowering->out[0]);
}

const struct layer_kind layer_kind_dot = {
    .class_name = "Dot",
    ATTRS(attrs),
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .channels = kind_channels_fix,
    .lower = lower,
};

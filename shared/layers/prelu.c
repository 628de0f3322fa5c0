/* x > 0 ? x : alpha * x, with an alpha for every element of a sample, or one along the shared axes. */
#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    {.name = "shared_axes", .type = ATTR_INTS, .initial = "null"}, /* the first of a sample is 1 */
};

/* The shape of alpha. */
static status alpha_shape(const struct layer *layer, const struct shape *in, struct shape *alpha) {
    const struct attr *shared = layer_attr(layer, "shared_axes");
    char text[SHAPE_TEXT_MAX];
    *alpha = (struct shape){.rank = in->rank - 1};
    for (int i = 0; i < alpha->rank; i++) alpha->dim[i] = in->dim[i + 1];
    for (int i = 0; shared->present && i < shared->u.ints.n; i++) {
        int axis;
        STATUS_TRY(kind_axis("shared_axes", shared->u.ints.v[i], in->rank, &axis));
        if (axis == 0) return status_fail(STATUS_DATA, "attribute \"shared_axes\" has 0, the batch");
        alpha->dim[axis - 1] = 1;
    }
    for (int i = 0; i < alpha->rank; i++)
        if (alpha->dim[i] < 1)
            return status_fail(STATUS_DATA,
                               "its input has shape %s; dimension %d must be known or among shared_axes",
                               shape_format(in, text), i + 1);
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape alpha;
    if (in[0].rank < 2) return status_fail(STATUS_DATA, "its input has no axis but the batch");
    STATUS_TRY(alpha_shape(layer, &in[0], &alpha));
    return kind_infer_same(layer, in, nin, out, nout);
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int last = in[0].rank - 2;
    (void)nin;
    *weight = (struct weight){.name = "alpha", .trainable = true, .in_axis = -1, .out_axis = -1};
    STATUS_TRY(alpha_shape(layer, &in[0], &weight->shape));
    if (weight->shape.dim[last] == in[0].dim[last + 1]) weight->in_axis = weight->out_axis = last;
    *nweights = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_PRELU, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    op.param[0] = lowering->param[0];
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_prelu = {
    .class_name = "PReLU",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .infer = infer,
    .weights = weights,
    .channels = kind_channels_same,
    .lower = lower,
};

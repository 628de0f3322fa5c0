#include "shared/layers/emit.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"

#include <stdlib.h>
#include <string.h>

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INT, .initial = "-1"},
};

/* Adds `in` to *out along the axis. A dimension known in one of them is known. */
static status extend(struct shape *out, const struct shape *in, int axis) {
    char left[SHAPE_TEXT_MAX], right[SHAPE_TEXT_MAX];
    bool fits = in->rank == out->rank;
    struct shape result = *out;
    for (int i = 0; fits && i < in->rank; i++) {
        if (i == axis) {
            bool unknown = out->dim[i] == SHAPE_UNKNOWN || in->dim[i] == SHAPE_UNKNOWN;
            result.dim[i] = unknown ? SHAPE_UNKNOWN : 0;
            if (!unknown) fits = !__builtin_add_overflow(out->dim[i], in->dim[i], &result.dim[i]);
        } else if (out->dim[i] == SHAPE_UNKNOWN) {
            result.dim[i] = in->dim[i];
        } else {
            fits = in->dim[i] == out->dim[i] || in->dim[i] == SHAPE_UNKNOWN;
        }
    }
    if (!fits)
        return status_fail(STATUS_DATA, "inputs of shapes %s and %s cannot be concatenated along axis %d",
                           shape_format(out, left), shape_format(in, right), axis);
    *out = result;
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape result = in[0];
    int axis;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), in[0].rank, &axis));
    if (axis == 0) return status_fail(STATUS_UNSUPPORTED, "axis 0, over the batch, is not supported");
    for (int i = 1; i < nin; i++) STATUS_TRY(extend(&result, &in[i], axis));
    out[0] = result;
    *nout = 1;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    int axis;
    STATUS_TRY(kind_axis("axis", layer_int(layer, "axis"), c->in[0].rank, &axis));
    return axis == c->in[0].rank - 1 ? channels_concat(c) : channels_same(c);
}

/* Of a value (N,T,...,C): a mask (N,T) of ones. */
static status ones(struct lowering *lowering, int value, int *mask) {
    const struct shape shape = *lowering_shape(lowering, value);
    const struct shape steps = SHAPE(shape.dim[0], shape.dim[1]);
    STATUS_TRY(emit_slice(lowering, value, shape.rank - 1, 0, 1, 1, mask));
    STATUS_TRY(emit_reshape(lowering, *mask, &steps, mask));
    return emit_affine(lowering, *mask, 0, 1, mask);
}

/* Masks of inputs joined on the channels are joined in Keras 3 to the steps that count in any (in all, if one
 * has no mask), before to those that count in all that have one; joined in time they follow each other. */
static status concatenate_masks(struct lowering *lowering, int axis) {
    int rank = lowering_shape(lowering, lowering->in[0])->rank, missing = 0, mask = -1;
    for (int i = 0; i < lowering->nin; i++) missing += lowering->mask[i] < 0;
    if (missing == lowering->nin) return SUCCESS;
    if (rank < 3 || (axis != 1 && axis != rank - 1) || (axis == 1 && rank != 3))
        return status_fail(STATUS_UNSUPPORTED,
                           "masked inputs of rank %d joined along axis %d are not supported", rank, axis);
    if (axis == 1) {
        int *masks = malloc((size_t)lowering->nin * sizeof *masks);
        if (!masks) return status_no_memory("masks", (size_t)lowering->nin * sizeof *masks);
        status error = SUCCESS;
        for (int i = 0; i < lowering->nin && !error; i++) {
            masks[i] = lowering->mask[i];
            if (masks[i] < 0) error = ones(lowering, lowering->in[i], &masks[i]);
        }
        if (!error) error = emit_concat(lowering, lowering->nin, masks, 1, &lowering->out_mask[0]);
        free(masks);
        return error;
    }
    for (int i = 0; i < lowering->nin; i++)
        if (lowering->keras_version < 3) STATUS_TRY(mask_and(lowering, mask, lowering->mask[i], &mask));
        else if (!missing) STATUS_TRY(mask_or(lowering, mask, lowering->mask[i], &mask));
    lowering->out_mask[0] = mask;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    size_t nin = (size_t)lowering->nin;
    int *in = malloc(nin * sizeof *in);
    if (!in) return status_no_memory("an operation", nin * sizeof *in);
    memcpy(in, lowering->in, nin * sizeof *in);
    struct op op = op_make(OP_CONCAT, in, lowering->nin);
    struct shape shape = *lowering_shape(lowering, in[0]);
    status error = kind_axis("axis", layer_int(layer, "axis"), shape.rank, &op.u.axis.axis);
    for (int i = 1; i < lowering->nin && !error; i++)
        error = extend(&shape, lowering_shape(lowering, in[i]), op.u.axis.axis);
    if (!error) error = kind_lower_op(layer, lowering, &op, &shape);
    if (!error) error = concatenate_masks(lowering, op.u.axis.axis);
    free(in);
    return error;
}

const struct layer_kind layer_kind_concatenate = {
    .class_name = "Concatenate",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = -1,
    .infer = infer,
    .channels = channels,
    .lower = lower,
};

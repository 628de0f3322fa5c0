#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "target_shape", .type = ATTR_INTS, .free = true}, /* without the batch; -1: what is left */
};

static status misfit(const struct shape *in, const struct shape *out) {
    char from[SHAPE_TEXT_MAX], to[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "an input of shape %s cannot be reshaped to %s", shape_format(in, from),
                       shape_format(out, to));
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const struct attr *target = layer_attr(layer, "target_shape");
    int64_t count = shape_sample_count(&in[0]), product = 1;
    int free_axis = -1;
    (void)nin;
    if (target->u.ints.n >= SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "target_shape has %d dimensions; it can have %d", target->u.ints.n,
                           SHAPE_MAX_RANK - 1);
    struct shape shape = {.rank = target->u.ints.n + 1, .dim = {in[0].dim[0]}};
    for (int i = 1; i < shape.rank; i++) {
        int64_t dim = shape.dim[i] = target->u.ints.v[i - 1];
        if (dim == -1 && free_axis < 0) free_axis = i;
        else if (dim < 1 || __builtin_mul_overflow(product, dim, &product))
            return status_fail(STATUS_DATA,
                               "target_shape has %" PRId64 "; dimensions are 1 or more, and one may be -1",
                               dim);
    }
    if (count >= 0 && (free_axis < 0 ? count != product : count % product)) return misfit(&in[0], &shape);
    if (free_axis >= 0) shape.dim[free_axis] = count < 0 ? SHAPE_UNKNOWN : count / product;
    out[0] = shape;
    *nout = 1;
    return SUCCESS;
}

/* Values keep their order, so channel i of the output is channel i % C of the input if C divides the
 * output's. */
static status channels(const struct layer *layer, struct channels *c) {
    (void)layer;
    return channels_tile(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_RESHAPE, &in, 1);
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, in), 1, &shape, &lowering->nout));
    return kind_lower_op(layer, lowering, &op, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    struct attr *target = layer_attr(layer, "target_shape");
    if (target->u.ints.n && target->u.ints.v[target->u.ints.n - 1] != -1)
        target->u.ints.v[target->u.ints.n - 1] = n;
    return SUCCESS;
}

const struct layer_kind layer_kind_reshape = {
    .class_name = "Reshape",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .channels = channels,
    .lower = lower,
    .set_width = set_width,
};

#include "shared/layers/kind.h"

#include <inttypes.h>
#include <stdlib.h>

/* x * scale + offset; each is one number or one per channel. */
static const struct attr_spec attrs[] = {
    {.name = "scale", .type = ATTR_FLOATS},
    {.name = "offset", .type = ATTR_FLOATS, .initial = "0"},
};

/* How many numbers the layer has: 1, or one per channel. */
static status count(const struct layer *layer, const struct shape *in, int *n) {
    static const char *const names[] = {"scale", "offset"};
    int64_t channels = in->dim[in->rank - 1];
    *n = 1;
    for (int i = 0; i < 2; i++) {
        int length = layer_attr(layer, names[i])->u.floats.n;
        if (length != 1 && (in->rank < 2 || length != channels))
            return status_fail(STATUS_DATA,
                               "attribute \"%s\" has %d numbers, but the input has %" PRId64 " channels",
                               names[i], length, channels);
        if (length > *n) *n = length;
    }
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    int n;
    STATUS_TRY(count(layer, &in[0], &n));
    return kind_infer_same(layer, in, nin, out, nout);
}

static status channels(const struct layer *layer, struct channels *c) {
    int n;
    STATUS_TRY(count(layer, &c->in[0], &n));
    return n == 1 ? channels_same(c) : channels_fix(c);
}

static float number(const struct layer *layer, const char *name, int i) {
    const struct attr *attr = layer_attr(layer, name);
    return (float)attr->u.floats.v[attr->u.floats.n == 1 ? 0 : i];
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0], n;
    struct op op = op_make(OP_AFFINE, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    STATUS_TRY(count(layer, &shape, &n));
    op.u.affine.n = n;
    op.u.affine.scale = calloc((size_t)n, sizeof(float));
    op.u.affine.offset = calloc((size_t)n, sizeof(float));
    if (!op.u.affine.scale || !op.u.affine.offset) {
        free(op.u.affine.scale);
        free(op.u.affine.offset);
        return status_no_memory("constants", 2 * (size_t)n * sizeof(float));
    }
    for (int i = 0; i < n; i++) {
        op.u.affine.scale[i] = number(layer, "scale", i);
        op.u.affine.offset[i] = number(layer, "offset", i);
    }
    if (lowering->keras_version >= 3) lowering->out_mask[0] = lowering->mask[0];
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_rescaling = {
    .class_name = "Rescaling",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .positionwise = true,
    .infer = infer,
    .channels = channels,
    .lower = lower,
};

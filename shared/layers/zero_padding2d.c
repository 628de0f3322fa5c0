#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    /* one number for all sides; height, width; or top, bottom, left, right */
    {.name = "padding", .type = ATTR_INTS, .initial = "1,1", .pairs = true},
    ATTR_DATA_FORMAT,
};

#define PADDING_MAX 32768

static status read_padding(const struct layer *layer, int before[2], int after[2]) {
    const struct attr *attr = layer_attr(layer, "padding");
    int n = attr->u.ints.n;
    const int64_t *v = attr->u.ints.v;
    if (n != 1 && n != 2 && n != 4)
        return status_fail(STATUS_DATA, "attribute \"padding\" has %d numbers; it takes 1, 2 or 4", n);
    for (int i = 0; i < n; i++)
        if (v[i] < 0 || v[i] > PADDING_MAX)
            return status_fail(STATUS_DATA,
                               "attribute \"padding\" has %" PRId64 "; it must be between 0 and %d", v[i],
                               PADDING_MAX);
    for (int i = 0; i < 2; i++) {
        before[i] = (int)(n == 4 ? v[2 * i] : v[n == 2 ? i : 0]);
        after[i] = (int)(n == 4 ? v[2 * i + 1] : before[i]);
    }
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    int before[2], after[2];
    (void)nin;
    STATUS_TRY(kind_image(&in[0]));
    STATUS_TRY(read_padding(layer, before, after));
    out[0] = in[0];
    for (int i = 0; i < 2; i++)
        if (in[0].dim[1 + i] != SHAPE_UNKNOWN) out[0].dim[1 + i] += before[i] + after[i];
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_PAD, &in, 1);
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, in), 1, &shape, &lowering->nout));
    STATUS_TRY(read_padding(layer, &op.u.pad.before[1], &op.u.pad.after[1]));
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_zero_padding2d = {
    .class_name = "ZeroPadding2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower,
};

/* (N,C) to (N,n,C). */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "n", .type = ATTR_INT},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    char text[SHAPE_TEXT_MAX];
    (void)nin;
    STATUS_TRY(kind_positive(layer, "n"));
    if (in[0].rank != 2)
        return status_fail(STATUS_DATA, "its input has shape %s; it takes (batch, features)",
                           shape_format(&in[0], text));
    out[0] = SHAPE(in[0].dim[0], layer_int(layer, "n"), in[0].dim[1]);
    *nout = 1;
    return SUCCESS;
}

/* An image of one cell, enlarged. */
static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0];
    const struct shape in = *lowering_shape(lowering, value);
    int64_t n = layer_int(layer, "n");
    STATUS_TRY(emit_reshape(lowering, value, &SHAPE(in.dim[0], 1, 1, in.dim[1]), &value));
    struct op op = op_make(OP_RESIZE, &value, 1);
    struct shape image = SHAPE(in.dim[0], 1, n, in.dim[1]);
    op.u.resize.kind = RESIZE_NEAREST;
    STATUS_TRY(lowering_add(lowering, &op, &image, &value));
    lowering->nout = 1;
    return emit_reshape(lowering, value, &SHAPE(in.dim[0], n, in.dim[1]), &lowering->out[0]);
}

const struct layer_kind layer_kind_repeat_vector = {
    .class_name = "RepeatVector",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower,
};

/* Leaves out the steps whose features all have one value, and sets them to zero. */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"

static const struct attr_spec attrs[] = {
    {.name = "mask_value", .type = ATTR_FLOAT, .initial = "0"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    char text[SHAPE_TEXT_MAX];
    if (in[0].rank < 3)
        return status_fail(STATUS_DATA, "its input has shape %s; it takes (batch, steps, features)",
                           shape_format(&in[0], text));
    return kind_infer_same(layer, in, nin, out, nout);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0], any;
    int rank = lowering_shape(lowering, in)->rank;
    const struct activation_function other = {.kind = ACTIVATION_NOT_EQUAL,
                                              .gamma = (float)layer_float(layer, "mask_value")};
    STATUS_TRY(emit_activation(lowering, &other, in, &any));
    STATUS_TRY(emit_reduce(lowering, REDUCE_MAX, any, rank - 1, false, &any));
    lowering->nout = 1;
    lowering->out_mask[0] = any;
    return mask_apply(lowering, any, in, &lowering->out[0]);
}

const struct layer_kind layer_kind_masking = {
    .class_name = "Masking",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .channels = kind_channels_fix,
    .lower = lower,
};

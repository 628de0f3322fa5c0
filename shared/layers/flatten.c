/* All axes of a sample to one. Channels that come first are moved behind the others before. */
#include "shared/layers/emit.h"
#include "shared/layers/spatial.h"

static const struct attr_spec attrs[] = {
    ATTR_DATA_FORMAT,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    (void)layer, (void)nin;
    out[0] = SHAPE(in[0].dim[0], shape_sample_count(&in[0])); /* -1 is SHAPE_UNKNOWN */
    *nout = 1;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    return spatial_channels_first(layer) ? channels_fix(c) : channels_tile(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0], order[SHAPE_MAX_RANK] = {0};
    const struct shape in = *lowering_shape(lowering, value);
    struct shape shape;
    STATUS_TRY(infer(layer, &in, 1, &shape, &lowering->nout));
    if (spatial_channels_first(layer) && in.rank > 2) {
        for (int i = 1; i < in.rank; i++) order[i] = i + 1 < in.rank ? i + 1 : 1;
        STATUS_TRY(emit_transpose(lowering, value, order, &value));
    }
    return emit_reshape(lowering, value, &shape, &lowering->out[0]);
}

const struct layer_kind layer_kind_flatten = {
    .class_name = "Flatten",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .channels = channels,
    .lower = lower,
};

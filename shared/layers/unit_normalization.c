/* x / sqrt(sum of x^2 over the axes). */
#include "shared/layers/axes.h"
#include "shared/layers/unit.h"

static const struct attr_spec attrs[] = {
    {.name = "axis", .type = ATTR_INTS, .initial = "-1"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", in[0].rank, &axes));
    if (!axes) return status_fail(STATUS_DATA, "attribute \"axis\" lists no axis");
    return kind_infer_same(layer, in, nin, out, nout);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    unsigned axes;
    STATUS_TRY(axes_read(layer, "axis", lowering_shape(lowering, lowering->in[0])->rank, &axes));
    lowering->nout = 1;
    return unit_length(lowering, axes, lowering->in[0], &lowering->out[0]);
}

const struct layer_kind layer_kind_unit_normalization = {
    .class_name = "UnitNormalization",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower,
};

#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    {.name = "activation", .type = ATTR_STRING},
};

static status channels(const struct layer *layer, struct channels *c) {
    return activation_is_elementwise(layer_string(layer, "activation")) ? channels_same(c) : channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    lowering->nout = 1;
    return lowering_add_activation(lowering, layer_string(layer, "activation"), lowering->in[0],
                                   &lowering->out[0]);
}

const struct layer_kind layer_kind_activation = {
    .class_name = "Activation",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .check = kind_check_activation,
    .infer = kind_infer_same,
    .channels = channels,
    .lower = lower,
};

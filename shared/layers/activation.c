#include "shared/layers/kind.h"

#include <string.h>

static const struct attr_spec attrs[] = {
    {.name = "activation", .type = ATTR_STRING},
};

static status check(const struct layer *layer) {
    return activation_check(layer_string(layer, "activation"));
}

static status channels(const struct layer *layer, struct channels *c) {
    return strcmp(layer_string(layer, "activation"), "softmax") ? channels_same(c) : channels_fix(c);
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
    .check = check,
    .infer = kind_infer_same,
    .channels = channels,
    .lower = lower,
};

/* Identity, GaussianNoise, GaussianDropout, AlphaDropout and ActivityRegularization: nothing in inference. In
 * training they do nothing here either: no noise is made, and no penalty is added to the loss. */
#include "shared/layers/kind.h"

static const struct attr_spec noise_attrs[] = {
    {.name = "stddev", .type = ATTR_FLOAT},
};

static const struct attr_spec dropout_attrs[] = {
    {.name = "rate", .type = ATTR_FLOAT},
};

static const struct attr_spec alpha_attrs[] = {
    {.name = "rate", .type = ATTR_FLOAT},
    {.name = "noise_shape", .type = ATTR_SHAPE, .initial = "null", .dialect = ATTR_KERAS3_ONLY},
};

static const struct attr_spec penalty_attrs[] = {
    {.name = "l1", .type = ATTR_FLOAT, .initial = "0"},
    {.name = "l2", .type = ATTR_FLOAT, .initial = "0"},
};

static status lower(const struct layer *layer, struct lowering *lowering) {
    (void)layer;
    lowering->out[0] = lowering->in[0];
    lowering->nout = 1;
    return SUCCESS;
}

#define NOISE_KIND(symbol, text, ...)                                                                        \
    const struct layer_kind layer_kind_##symbol = {.class_name = text,                                       \
                                                   .min_inputs = 1,                                          \
                                                   .max_inputs = 1,                                          \
                                                   .passes_mask = true,                                      \
                                                   .positionwise = true,                                     \
                                                   .infer = kind_infer_same,                                 \
                                                   .channels = kind_channels_same,                           \
                                                   .lower = lower,                                           \
                                                   __VA_ARGS__}

NOISE_KIND(gaussian_noise, "GaussianNoise", ATTRS(noise_attrs));
NOISE_KIND(gaussian_dropout, "GaussianDropout", ATTRS(dropout_attrs));
NOISE_KIND(alpha_dropout, "AlphaDropout", ATTRS(alpha_attrs));
NOISE_KIND(identity, "Identity", .nattrs = 0);
NOISE_KIND(activity_regularization, "ActivityRegularization", ATTRS(penalty_attrs));

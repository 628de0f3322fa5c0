/* Identity, GaussianNoise, GaussianDropout, AlphaDropout and ActivityRegularization; RandomFlip and the other
 * layers that augment images: nothing in inference. In training they do nothing here either: no noise is
 * made, no penalty is added to the loss, and what augments data is the configuration's to say. */
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

#define ATTR_FILL                                                                                            \
    {.name = "fill_mode", .type = ATTR_STRING, .initial = "reflect"},                                        \
        {.name = "interpolation", .type = ATTR_STRING, .initial = "bilinear"},                               \
        {.name = "fill_value", .type = ATTR_FLOAT, .initial = "0"}, ATTR_DATA_FORMAT_KERAS3

static const struct attr_spec flip_attrs[] = {
    {.name = "mode", .type = ATTR_STRING, .initial = "horizontal_and_vertical"},
    ATTR_DATA_FORMAT_KERAS3,
};

static const struct attr_spec rotation_attrs[] = {
    {.name = "factor", .type = ATTR_FLOATS},
    ATTR_FILL,
};

static const struct attr_spec zoom_attrs[] = {
    {.name = "height_factor", .type = ATTR_FLOATS},
    {.name = "width_factor", .type = ATTR_FLOATS, .initial = "null"},
    ATTR_FILL,
};

static const struct attr_spec contrast_attrs[] = {
    {.name = "factor", .type = ATTR_FLOATS},
    {.name = "value_range", .type = ATTR_FLOATS, .initial = "0,255", .dialect = ATTR_NEWER},
};

static const struct attr_spec size_attrs[] = {
    {.name = "factor", .type = ATTR_FLOATS},
    {.name = "interpolation", .type = ATTR_STRING, .initial = "bilinear"},
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
NOISE_KIND(random_brightness, "RandomBrightness", ATTRS(contrast_attrs));
NOISE_KIND(random_contrast, "RandomContrast", ATTRS(contrast_attrs));
NOISE_KIND(random_flip, "RandomFlip", ATTRS(flip_attrs));
NOISE_KIND(random_height, "RandomHeight", ATTRS(size_attrs));
NOISE_KIND(random_rotation, "RandomRotation", ATTRS(rotation_attrs));
NOISE_KIND(random_translation, "RandomTranslation", ATTRS(zoom_attrs));
NOISE_KIND(random_width, "RandomWidth", ATTRS(size_attrs));
NOISE_KIND(random_zoom, "RandomZoom", ATTRS(zoom_attrs));

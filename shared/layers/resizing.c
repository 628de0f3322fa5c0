/* Images to a given size. Keras's ways of keeping the ratio of height and width, and antialiasing, are
 * refused. */
#include "shared/layers/spatial.h"

#include <string.h>

static const struct attr_spec attrs[] = {
    {.name = "height", .type = ATTR_INT},
    {.name = "width", .type = ATTR_INT},
    {.name = "interpolation", .type = ATTR_STRING, .initial = "bilinear", .choices = "bilinear|nearest"},
    {.name = "crop_to_aspect_ratio", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_NEWER},
    {.name = "pad_to_aspect_ratio", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_KERAS3_ONLY},
    {.name = "antialias", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_KERAS3_ONLY},
    /* Of what pad_to_aspect_ratio pads with: no effect without it. */
    {.name = "fill_mode", .type = ATTR_STRING, .initial = "constant", .dialect = ATTR_KERAS3_ONLY},
    {.name = "fill_value", .type = ATTR_FLOAT, .initial = "0", .dialect = ATTR_KERAS3_ONLY},
    ATTR_DATA_FORMAT_KERAS3,
};

static status check(const struct layer *layer) {
    static const char *const refused[] = {"crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (layer_bool(layer, refused[i]))
            return status_fail(STATUS_UNSUPPORTED, "%s is not supported", refused[i]);
    return SUCCESS;
}

static status resize(const struct layer *layer, struct shape *image) {
    STATUS_TRY(kind_positive(layer, "height"));
    STATUS_TRY(kind_positive(layer, "width"));
    image->dim[1] = layer_int(layer, "height");
    image->dim[2] = layer_int(layer, "width");
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(resize(layer, &image));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_RESIZE, &in, 1);
    struct shape image = *lowering_shape(lowering, in);
    STATUS_TRY(resize(layer, &image));
    if (!strcmp(layer_string(layer, "interpolation"), "bilinear")) op.u.resize.kind = RESIZE_BILINEAR;
    return spatial_output_op(layer, lowering, &op, &image);
}

const struct layer_kind layer_kind_resizing = {
    .class_name = "Resizing",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .spatial = 2,
    .check = check,
    .infer = infer,
    .channels = spatial_channels_same,
    .lower = lower,
};

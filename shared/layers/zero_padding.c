/* ZeroPadding1D and ZeroPadding2D. */
#include "shared/layers/margin.h"

static const struct attr_spec attrs1d[] = {
    {.name = "padding", .type = ATTR_INTS, .initial = "1,1"},
    ATTR_DATA_FORMAT_KERAS3,
};

static const struct attr_spec attrs2d[] = {
    {.name = "padding", .type = ATTR_INTS, .initial = "1,1", .pairs = true},
    ATTR_DATA_FORMAT,
};

/* The image with its margin. */
static status pad(const struct layer *layer, struct shape *image, struct margin *margin) {
    STATUS_TRY(margin_read(layer, "padding", margin));
    for (int i = 0; i < 2; i++)
        if (image->dim[1 + i] != SHAPE_UNKNOWN) image->dim[1 + i] += margin->before[i] + margin->after[i];
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct margin margin;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(pad(layer, &image, &margin));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    struct margin margin;
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_PAD, &in, 1);
    struct shape image = *lowering_shape(lowering, in);
    STATUS_TRY(pad(layer, &image, &margin));
    for (int i = 0; i < 2; i++) {
        op.u.pad.before[1 + i] = margin.before[i];
        op.u.pad.after[1 + i] = margin.after[i];
    }
    return spatial_output_op(layer, lowering, &op, &image);
}

#define ZERO_PADDING_KIND(symbol, text, n, table)                                                            \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = 1,                                                                                     \
        .spatial = n,                                                                                        \
        .infer = infer,                                                                                      \
        .channels = spatial_channels_same,                                                                   \
        .lower = lower,                                                                                      \
    }

ZERO_PADDING_KIND(zero_padding1d, "ZeroPadding1D", 1, attrs1d);
ZERO_PADDING_KIND(zero_padding2d, "ZeroPadding2D", 2, attrs2d);

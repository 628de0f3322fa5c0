/* Cropping1D and Cropping2D. */
#include "shared/layers/margin.h"

#include <inttypes.h>

static const struct attr_spec attrs1d[] = {
    {.name = "cropping", .type = ATTR_INTS, .initial = "1,1"},
    ATTR_DATA_FORMAT_KERAS3,
};

static const struct attr_spec attrs2d[] = {
    {.name = "cropping", .type = ATTR_INTS, .initial = "0,0,0,0", .pairs = true},
    ATTR_DATA_FORMAT,
};

/* The image without its margin. */
static status crop(const struct layer *layer, struct shape *image, struct margin *margin) {
    STATUS_TRY(margin_read(layer, "cropping", margin));
    for (int i = 0; i < 2; i++) {
        int64_t *dim = &image->dim[1 + i], off = margin->before[i] + margin->after[i];
        if (*dim == SHAPE_UNKNOWN) continue;
        if (off >= *dim)
            return status_fail(STATUS_DATA, "%" PRId64 " cells cannot be taken off an axis of %" PRId64, off,
                               *dim);
        *dim -= off;
    }
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct margin margin;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(crop(layer, &image, &margin));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    struct margin margin;
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_SLICE, &in, 1);
    struct shape image = *lowering_shape(lowering, in);
    STATUS_TRY(crop(layer, &image, &margin));
    for (int i = 0; i < image.rank; i++) op.u.slice.step[i] = 1;
    for (int i = 0; i < 2; i++) op.u.slice.start[1 + i] = margin.before[i];
    return spatial_output_op(layer, lowering, &op, &image);
}

#define CROPPING_KIND(symbol, text, n, table)                                                                \
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

CROPPING_KIND(cropping1d, "Cropping1D", 1, attrs1d);
CROPPING_KIND(cropping2d, "Cropping2D", 2, attrs2d);

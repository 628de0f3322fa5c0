/* UpSampling1D and UpSampling2D: every axis by a whole factor. */
#include "shared/layers/spatial.h"

#include <inttypes.h>
#include <string.h>

static const struct attr_spec attrs1d[] = {
    {.name = "size", .type = ATTR_INT, .initial = "2"}, /* Keras 2 takes no list */
};

static const struct attr_spec attrs2d[] = {
    {.name = "size", .type = ATTR_INTS, .initial = "2", .length = 2},
    ATTR_DATA_FORMAT,
    {.name = "interpolation", .type = ATTR_STRING, .initial = "nearest", .choices = "nearest|bilinear"},
};

#define FACTOR_MAX 32768

/* The larger image. */
static status enlarge(const struct layer *layer, struct shape *image) {
    const struct attr *size = layer_attr(layer, "size");
    for (int i = 0; i < 2; i++) {
        int64_t n = layer->kind->spatial == 2 ? size->u.ints.v[i] : i ? size->u.i : 1;
        int64_t *dim = &image->dim[1 + i];
        if (n < 1 || n > FACTOR_MAX)
            return status_fail(STATUS_DATA, "attribute \"size\" has %" PRId64 "; it must be between 1 and %d",
                               n, FACTOR_MAX);
        if (*dim != SHAPE_UNKNOWN) *dim *= n; /* dimensions are at most INT32_MAX */
    }
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(enlarge(layer, &image));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_RESIZE, &in, 1);
    struct shape image = *lowering_shape(lowering, in);
    STATUS_TRY(enlarge(layer, &image));
    if (layer_has_attr(layer, "interpolation") && !strcmp(layer_string(layer, "interpolation"), "bilinear"))
        op.u.resize.kind = RESIZE_BILINEAR;
    return spatial_output_op(layer, lowering, &op, &image);
}

#define UP_SAMPLING_KIND(symbol, text, n, table)                                                             \
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

UP_SAMPLING_KIND(up_sampling1d, "UpSampling1D", 1, attrs1d);
UP_SAMPLING_KIND(up_sampling2d, "UpSampling2D", 2, attrs2d);

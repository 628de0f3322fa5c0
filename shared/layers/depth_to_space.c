/* DepthToSpace and SpaceToDepth: a block of cells is moved between the axes of the image and the channels, as
 * TensorFlow's operations of these names do: channel (i * block + j) * C + c belongs to row i and column j of
 * the block. Keras has no such layers; an alias file maps custom ones to them. */
#include "shared/layers/emit.h"
#include "shared/layers/spatial.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "block_size", .type = ATTR_INT},
    ATTR_DATA_FORMAT,
};

#define BLOCK_MAX 1024

/* What the image becomes. */
static status rearrange(const struct layer *layer, bool to_space, struct shape *image) {
    int64_t block = layer_int(layer, "block_size");
    bool fits = block >= 1 && block <= BLOCK_MAX;
    char text[SHAPE_TEXT_MAX];
    struct shape in = *image;
    for (int i = 1; i <= 2 && fits; i++) {
        if (in.dim[i] == SHAPE_UNKNOWN) continue;
        fits = to_space || in.dim[i] % block == 0;
        image->dim[i] = to_space ? in.dim[i] * block : in.dim[i] / block;
    }
    if (to_space) fits = fits && in.dim[3] % (block * block) == 0;
    if (!fits)
        return status_fail(STATUS_DATA, "block_size %" PRId64 " does not fit an input of shape %s", block,
                           shape_format(&in, text));
    image->dim[3] = to_space ? in.dim[3] / (block * block) : in.dim[3] * block * block;
    return SUCCESS;
}

static status infer_either(const struct layer *layer, const struct shape *in, bool to_space,
                           struct shape *out, int *nout) {
    struct shape image;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(rearrange(layer, to_space, &image));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status infer_to_space(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                             int *nout) {
    (void)nin;
    return infer_either(layer, in, true, out, nout);
}

static status infer_to_depth(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                             int *nout) {
    (void)nin;
    return infer_either(layer, in, false, out, nout);
}

/* (N,H,W,b,b,C) to (N,H,b,W,b,C), or back: axes 2 and 3 change places. */
static status lower_either(const struct layer *layer, struct lowering *lowering, bool to_space) {
    static const int order[] = {0, 1, 3, 2, 4, 5};
    int64_t block = layer_int(layer, "block_size");
    int value;
    STATUS_TRY(spatial_input(layer, lowering, &value));
    struct shape in = *lowering_shape(lowering, value), out = in;
    STATUS_TRY(rearrange(layer, to_space, &out));
    const int64_t *small = to_space ? in.dim : out.dim;
    int64_t channels = to_space ? out.dim[3] : in.dim[3];
    struct shape split = to_space ? SHAPE(in.dim[0], small[1], small[2], block, block, channels)
                                  : SHAPE(in.dim[0], small[1], block, small[2], block, channels);
    STATUS_TRY(emit_reshape(lowering, value, &split, &value));
    STATUS_TRY(emit_transpose(lowering, value, order, &value));
    STATUS_TRY(emit_reshape(lowering, value, &out, &value));
    return spatial_output(layer, lowering, value);
}

static status lower_to_space(const struct layer *layer, struct lowering *lowering) {
    return lower_either(layer, lowering, true);
}

static status lower_to_depth(const struct layer *layer, struct lowering *lowering) {
    return lower_either(layer, lowering, false);
}

const struct layer_kind layer_kind_depth_to_space = {
    .class_name = "DepthToSpace",
    .module = "",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .spatial = 2,
    .infer = infer_to_space,
    .channels = kind_channels_fix,
    .lower = lower_to_space,
};

const struct layer_kind layer_kind_space_to_depth = {
    .class_name = "SpaceToDepth",
    .module = "",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .spatial = 2,
    .infer = infer_to_depth,
    .channels = kind_channels_fix,
    .lower = lower_to_depth,
};

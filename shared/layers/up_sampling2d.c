#include "shared/layers/kind.h"

#include <inttypes.h>
#include <string.h>

static const struct attr_spec attrs[] = {
    {.name = "size", .type = ATTR_INTS, .initial = "2,2", .length = 2},
    ATTR_DATA_FORMAT,
    {.name = "interpolation", .type = ATTR_STRING, .initial = "nearest", .choices = "nearest|bilinear"},
};

#define FACTOR_MAX 32768

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const int64_t *size = layer_attr(layer, "size")->u.ints.v;
    (void)nin;
    STATUS_TRY(kind_image(&in[0]));
    out[0] = in[0];
    for (int i = 0; i < 2; i++) {
        int64_t *dim = &out[0].dim[1 + i];
        if (size[i] < 1 || size[i] > FACTOR_MAX || *dim > INT64_MAX / FACTOR_MAX)
            return status_fail(STATUS_DATA, "attribute \"size\" has %" PRId64 "; it must be between 1 and %d",
                               size[i], FACTOR_MAX);
        if (*dim != SHAPE_UNKNOWN) *dim *= size[i];
    }
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_RESIZE, &in, 1);
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, in), 1, &shape, &lowering->nout));
    op.u.resize.kind =
        strcmp(layer_string(layer, "interpolation"), "bilinear") ? RESIZE_NEAREST : RESIZE_BILINEAR;
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_up_sampling2d = {
    .class_name = "UpSampling2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_channels_last,
    .infer = infer,
    .channels = kind_channels_same,
    .lower = lower,
};

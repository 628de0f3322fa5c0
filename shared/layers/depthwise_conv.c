/* DepthwiseConv1D and DepthwiseConv2D: output channel c * depth_multiplier + j is made of input channel c. */
#include "shared/layers/window.h"

#include <inttypes.h>

#define DEPTHWISE_ATTRS(n)                                                                                   \
    ATTR_KERNEL_SIZE(n), ATTR_STRIDES(n), ATTR_CONV_PADDING(n),                                              \
        {.name = "depth_multiplier", .type = ATTR_INT, .initial = "1"}, ATTR_DATA_FORMAT,                    \
        ATTR_DILATION_RATE(n), ATTR_ACTIVATION, ATTR_USE_BIAS

static const struct attr_spec attrs1d[] = {DEPTHWISE_ATTRS(1)};
static const struct attr_spec attrs2d[] = {DEPTHWISE_ATTRS(2)};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    struct shape image;
    (void)nin;
    STATUS_TRY(kind_positive(layer, "depth_multiplier"));
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(window_of_layer(layer, &image, &window, &image.dim[1]));
    if (__builtin_mul_overflow(image.dim[3], layer_int(layer, "depth_multiplier"), &image.dim[3]))
        return status_fail(STATUS_DATA, "attribute \"depth_multiplier\" is %" PRId64 ", which is too large",
                           layer_int(layer, "depth_multiplier"));
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int64_t multiplier = layer_int(layer, "depth_multiplier");
    int n = 0, rows = layer->kind->spatial;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    weight[n] =
        window_kernel(layer, "kernel", layer_attr(layer, "kernel_size")->u.ints.v, image.dim[3], multiplier);
    weight[n].keras2 = "depthwise_kernel";
    weight[n].in_axis = rows;
    weight[n++].out_axis = multiplier == 1 ? rows : -1;
    if (layer_bool(layer, "use_bias")) {
        weight[n] = window_bias(image.dim[3] * multiplier);
        weight[n++].in_axis = multiplier == 1 ? 0 : -1;
    }
    *nweights = n;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    return spatial_channels_first(layer) ? channels_fix(c) : channels_repeat(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_DEPTHWISE, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    STATUS_TRY(window_of_layer(layer, &shape, &op.u.conv.window, &shape.dim[1]));
    op.u.conv.groups = (int)shape.dim[3];
    shape.dim[3] *= layer_int(layer, "depth_multiplier");
    op.param[0] = lowering->param[0];
    if (layer_bool(layer, "use_bias")) op.param[1] = lowering->param[1];
    return spatial_output_op(layer, lowering, &op, &shape);
}

#define DEPTHWISE_KIND(symbol, text, n, table)                                                               \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = 1,                                                                                     \
        .spatial = n,                                                                                        \
        .affine = true,                                                                                      \
        .check = kind_check_activation,                                                                      \
        .infer = infer,                                                                                      \
        .weights = weights,                                                                                  \
        .channels = channels,                                                                                \
        .lower = lower,                                                                                      \
    }

DEPTHWISE_KIND(depthwise_conv1d, "DepthwiseConv1D", 1, attrs1d);
DEPTHWISE_KIND(depthwise_conv2d, "DepthwiseConv2D", 2, attrs2d);

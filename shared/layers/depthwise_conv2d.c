#include "shared/layers/window.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    ATTR_KERNEL_SIZE, ATTR_STRIDES,
    ATTR_PADDING,     {.name = "depth_multiplier", .type = ATTR_INT, .initial = "1"},
    ATTR_DATA_FORMAT, ATTR_DILATION_RATE,
    ATTR_ACTIVATION,  ATTR_USE_BIAS,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    int64_t size[2], channels;
    (void)nin;
    STATUS_TRY(kind_positive(layer, "depth_multiplier"));
    STATUS_TRY(window_of_layer(layer, &in[0], &window, size));
    if (__builtin_mul_overflow(in[0].dim[3], layer_int(layer, "depth_multiplier"), &channels))
        return status_fail(STATUS_DATA, "attribute \"depth_multiplier\" is %" PRId64 ", which is too large",
                           layer_int(layer, "depth_multiplier"));
    out[0] = SHAPE(in[0].dim[0], size[0], size[1], channels);
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    const int64_t *size = layer_attr(layer, "kernel_size")->u.ints.v;
    int64_t channels = in[0].dim[3], multiplier = layer_int(layer, "depth_multiplier");
    int n = 0;
    (void)nin;
    weight[n++] = (struct weight){.name = "kernel",
                                  .keras2 = "depthwise_kernel",
                                  .shape = SHAPE(size[0], size[1], channels, multiplier),
                                  .trainable = true,
                                  .in_axis = 2,
                                  .out_axis = multiplier == 1 ? 2 : -1};
    if (layer_bool(layer, "use_bias"))
        weight[n++] = (struct weight){.name = "bias",
                                      .shape = SHAPE(channels * multiplier),
                                      .trainable = true,
                                      .in_axis = multiplier == 1 ? 0 : -1,
                                      .out_axis = 0};
    *nweights = n;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    (void)layer;
    return channels_repeat(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_DEPTHWISE, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    STATUS_TRY(window_of_layer(layer, &shape, &op.u.conv.window, &shape.dim[1]));
    op.u.conv.groups = (int)shape.dim[3];
    shape.dim[3] *= layer_int(layer, "depth_multiplier");
    op.param[0] = lowering->param[0];
    if (layer_bool(layer, "use_bias")) op.param[1] = lowering->param[1];
    return kind_lower_op(layer, lowering, &op, &shape);
}

const struct layer_kind layer_kind_depthwise_conv2d = {
    .class_name = "DepthwiseConv2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_image_activation,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
};

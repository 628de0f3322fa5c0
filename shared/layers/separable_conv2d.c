/* A depthwise convolution, then a 1 x 1 convolution with the bias and the activation. */
#include "shared/layers/window.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "filters", .type = ATTR_INT},
    ATTR_KERNEL_SIZE,
    ATTR_STRIDES,
    ATTR_PADDING,
    {.name = "depth_multiplier", .type = ATTR_INT, .initial = "1"},
    ATTR_DATA_FORMAT,
    ATTR_DILATION_RATE,
    ATTR_ACTIVATION,
    ATTR_USE_BIAS,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    int64_t size[2], between;
    (void)nin;
    STATUS_TRY(kind_positive(layer, "filters"));
    STATUS_TRY(kind_positive(layer, "depth_multiplier"));
    STATUS_TRY(window_of_layer(layer, &in[0], &window, size));
    if (__builtin_mul_overflow(in[0].dim[3], layer_int(layer, "depth_multiplier"), &between))
        return status_fail(STATUS_DATA, "attribute \"depth_multiplier\" is %" PRId64 ", which is too large",
                           layer_int(layer, "depth_multiplier"));
    out[0] = SHAPE(in[0].dim[0], size[0], size[1], layer_int(layer, "filters"));
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    const int64_t *size = layer_attr(layer, "kernel_size")->u.ints.v;
    int64_t channels = in[0].dim[3], multiplier = layer_int(layer, "depth_multiplier");
    int64_t filters = layer_int(layer, "filters");
    int n = 0;
    (void)nin;
    weight[n++] = (struct weight){.name = "depthwise_kernel",
                                  .shape = SHAPE(size[0], size[1], channels, multiplier),
                                  .trainable = true,
                                  .in_axis = 2,
                                  .out_axis = -1};
    weight[n++] = (struct weight){.name = "pointwise_kernel",
                                  .shape = SHAPE(1, 1, channels * multiplier, filters),
                                  .trainable = true,
                                  .in_axis = multiplier == 1 ? 2 : -1,
                                  .out_axis = 3};
    if (layer_bool(layer, "use_bias"))
        weight[n++] = (struct weight){
            .name = "bias", .shape = SHAPE(filters), .trainable = true, .in_axis = -1, .out_axis = 0};
    *nweights = n;
    return SUCCESS;
}

/* With a multiplier, no one axis of the pointwise kernel is indexed by the input channels. */
static status channels(const struct layer *layer, struct channels *c) {
    return layer_int(layer, "depth_multiplier") == 1 ? kind_channels_fresh(layer, c) : channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0];
    struct op depthwise = op_make(OP_DEPTHWISE, &value, 1), pointwise = op_make(OP_CONV, &value, 1);
    struct shape shape = *lowering_shape(lowering, value);
    STATUS_TRY(window_of_layer(layer, &shape, &depthwise.u.conv.window, &shape.dim[1]));
    depthwise.u.conv.groups = (int)shape.dim[3];
    depthwise.param[0] = lowering->param[0];
    shape.dim[3] *= layer_int(layer, "depth_multiplier");
    STATUS_TRY(lowering_add(lowering, &depthwise, &shape, &value));
    pointwise.u.conv.window = (struct window){.size = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}};
    pointwise.u.conv.groups = 1;
    pointwise.param[0] = lowering->param[1];
    if (layer_bool(layer, "use_bias")) pointwise.param[1] = lowering->param[2];
    shape.dim[3] = layer_int(layer, "filters");
    return kind_lower_op(layer, lowering, &pointwise, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "filters")->u.i = n;
    return SUCCESS;
}

const struct layer_kind layer_kind_separable_conv2d = {
    .class_name = "SeparableConv2D",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = kind_check_image_activation,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
    .set_width = set_width,
};

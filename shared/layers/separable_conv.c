/* SeparableConv1D and SeparableConv2D: a depthwise convolution, then one over the channels alone, with the
 * bias and the activation. */
#include "shared/layers/window.h"

#include <inttypes.h>

#define SEPARABLE_ATTRS(n)                                                                                   \
    {.name = "filters", .type = ATTR_INT}, ATTR_KERNEL_SIZE(n), ATTR_STRIDES(n), ATTR_CONV_PADDING(n),       \
        {.name = "depth_multiplier", .type = ATTR_INT, .initial = "1"}, ATTR_DATA_FORMAT,                    \
        ATTR_DILATION_RATE(n), ATTR_ACTIVATION, ATTR_USE_BIAS

static const struct attr_spec attrs1d[] = {SEPARABLE_ATTRS(1)};
static const struct attr_spec attrs2d[] = {SEPARABLE_ATTRS(2)};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    struct shape image;
    int64_t between;
    (void)nin;
    STATUS_TRY(kind_positive(layer, "filters"));
    STATUS_TRY(kind_positive(layer, "depth_multiplier"));
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(window_of_layer(layer, &image, &window, &image.dim[1]));
    if (__builtin_mul_overflow(image.dim[3], layer_int(layer, "depth_multiplier"), &between) ||
        between > INT32_MAX)
        return status_fail(STATUS_DATA, "attribute \"depth_multiplier\" is %" PRId64 ", which is too large",
                           layer_int(layer, "depth_multiplier"));
    image.dim[3] = layer_int(layer, "filters");
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int64_t multiplier = layer_int(layer, "depth_multiplier"), filters = layer_int(layer, "filters");
    int n = 0, rows = layer->kind->spatial;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    weight[n] = window_kernel(layer, "depthwise_kernel", layer_attr(layer, "kernel_size")->u.ints.v,
                              image.dim[3], multiplier);
    weight[n++].in_axis = rows;
    weight[n] =
        window_kernel(layer, "pointwise_kernel", (const int64_t[]){1, 1}, image.dim[3] * multiplier, filters);
    weight[n].in_axis = rows;
    weight[n++].out_axis = rows + 1;
    if (layer_bool(layer, "use_bias")) weight[n++] = window_bias(filters);
    *nweights = n;
    return SUCCESS;
}

/* An input channel is so many of the pointwise kernel's, one after the other, as the multiplier says. */
static status channels(const struct layer *layer, struct channels *c) {
    return spatial_channels_fresh(layer, c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value;
    STATUS_TRY(spatial_input(layer, lowering, &value));
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
    return spatial_output_op(layer, lowering, &pointwise, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "filters")->u.i = n;
    return SUCCESS;
}

#define SEPARABLE_KIND(symbol, text, n, table)                                                               \
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
        .set_width = set_width,                                                                              \
    }

SEPARABLE_KIND(separable_conv1d, "SeparableConv1D", 1, attrs1d);
SEPARABLE_KIND(separable_conv2d, "SeparableConv2D", 2, attrs2d);

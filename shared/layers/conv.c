/* Conv1D and Conv2D. */
#include "shared/layers/window.h"

#include <inttypes.h>

#define CONV_ATTRS(n)                                                                                        \
    {.name = "filters", .type = ATTR_INT}, ATTR_KERNEL_SIZE(n), ATTR_STRIDES(n), ATTR_CONV_PADDING(n),       \
        ATTR_DATA_FORMAT, ATTR_DILATION_RATE(n),                                                             \
        {.name = "groups", .type = ATTR_INT, .initial = "1", .dialect = ATTR_NEWER}, ATTR_ACTIVATION,        \
        ATTR_USE_BIAS

static const struct attr_spec attrs1d[] = {CONV_ATTRS(1)};
static const struct attr_spec attrs2d[] = {CONV_ATTRS(2)};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    struct shape image;
    int64_t filters = layer_int(layer, "filters"), groups = layer_int(layer, "groups");
    (void)nin;
    STATUS_TRY(kind_positive(layer, "filters"));
    STATUS_TRY(kind_positive(layer, "groups"));
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    if (image.dim[3] % groups || filters % groups || groups > INT32_MAX)
        return status_fail(STATUS_DATA,
                           "%" PRId64 " groups do not divide %" PRId64 " input channels and %" PRId64
                           " filters",
                           groups, image.dim[3], filters);
    STATUS_TRY(window_of_layer(layer, &image, &window, &image.dim[1]));
    image.dim[3] = filters;
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int64_t filters = layer_int(layer, "filters"), groups = layer_int(layer, "groups");
    int n = 0, rows = layer->kind->spatial;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    weight[n] = window_kernel(layer, "kernel", layer_attr(layer, "kernel_size")->u.ints.v,
                              image.dim[3] / groups, filters);
    weight[n].in_axis = groups == 1 ? rows : -1;
    weight[n++].out_axis = rows + 1;
    if (layer_bool(layer, "use_bias")) weight[n++] = window_bias(filters);
    *nweights = n;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    return layer_int(layer, "groups") == 1 ? spatial_channels_fresh(layer, c) : channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_CONV, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    STATUS_TRY(window_of_layer(layer, &shape, &op.u.conv.window, &shape.dim[1]));
    shape.dim[3] = layer_int(layer, "filters");
    op.u.conv.groups = (int)layer_int(layer, "groups");
    op.param[0] = lowering->param[0];
    if (layer_bool(layer, "use_bias")) op.param[1] = lowering->param[1];
    return spatial_output_op(layer, lowering, &op, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "filters")->u.i = n;
    return SUCCESS;
}

#define CONV_KIND(symbol, text, n, table)                                                                    \
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

CONV_KIND(conv1d, "Conv1D", 1, attrs1d);
CONV_KIND(conv2d, "Conv2D", 2, attrs2d);

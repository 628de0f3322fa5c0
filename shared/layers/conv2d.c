#include "shared/layers/window.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "filters", .type = ATTR_INT},
    ATTR_KERNEL_SIZE,
    ATTR_STRIDES,
    ATTR_PADDING,
    ATTR_DATA_FORMAT,
    ATTR_DILATION_RATE,
    {.name = "groups", .type = ATTR_INT, .initial = "1", .dialect = ATTR_NEWER},
    ATTR_ACTIVATION,
    ATTR_USE_BIAS,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    int64_t size[2], filters = layer_int(layer, "filters"), groups = layer_int(layer, "groups");
    (void)nin;
    STATUS_TRY(kind_positive(layer, "filters"));
    STATUS_TRY(kind_positive(layer, "groups"));
    STATUS_TRY(window_of_layer(layer, &in[0], &window, size));
    if (in[0].dim[3] % groups || filters % groups || groups > INT32_MAX)
        return status_fail(STATUS_DATA,
                           "%" PRId64 " groups do not divide %" PRId64 " input channels and %" PRId64
                           " filters",
                           groups, in[0].dim[3], filters);
    out[0] = SHAPE(in[0].dim[0], size[0], size[1], filters);
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    const int64_t *size = layer_attr(layer, "kernel_size")->u.ints.v;
    int64_t filters = layer_int(layer, "filters"), groups = layer_int(layer, "groups");
    int n = 0;
    (void)nin;
    weight[n++] = (struct weight){.name = "kernel",
                                  .shape = SHAPE(size[0], size[1], in[0].dim[3] / groups, filters),
                                  .trainable = true,
                                  .in_axis = groups == 1 ? 2 : -1,
                                  .out_axis = 3};
    if (layer_bool(layer, "use_bias"))
        weight[n++] = (struct weight){
            .name = "bias", .shape = SHAPE(filters), .trainable = true, .in_axis = -1, .out_axis = 0};
    *nweights = n;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    return layer_int(layer, "groups") == 1 ? kind_channels_fresh(layer, c) : channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_CONV, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    STATUS_TRY(window_of_layer(layer, &shape, &op.u.conv.window, &shape.dim[1]));
    shape.dim[3] = layer_int(layer, "filters");
    op.u.conv.groups = (int)layer_int(layer, "groups");
    op.param[0] = lowering->param[0];
    if (layer_bool(layer, "use_bias")) op.param[1] = lowering->param[1];
    return kind_lower_op(layer, lowering, &op, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "filters")->u.i = n;
    return SUCCESS;
}

const struct layer_kind layer_kind_conv2d = {
    .class_name = "Conv2D",
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

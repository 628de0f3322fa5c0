/* Conv1DTranspose and Conv2DTranspose. Each axis of n cells becomes one of n * stride with padding "same",
 * and of (n - 1) * stride + max(k, stride) with "valid", where k is the size of the dilated kernel. With
 * output_padding p, it is (n - 1) * stride + k % 2 + p and (n - 1) * stride + k + p. */
#include "shared/layers/window.h"

#include <inttypes.h>
#include <string.h>

#define TRANSPOSE_ATTRS(n)                                                                                   \
    {.name = "filters", .type = ATTR_INT}, ATTR_KERNEL_SIZE(n), ATTR_STRIDES(n), ATTR_PADDING,               \
        {.name = "output_padding", .type = ATTR_INTS, .initial = "null", .length = (n)}, ATTR_DATA_FORMAT,   \
        ATTR_DILATION_RATE(n), ATTR_ACTIVATION, ATTR_USE_BIAS

static const struct attr_spec attrs1d[] = {TRANSPOSE_ATTRS(1)};
static const struct attr_spec attrs2d[] = {TRANSPOSE_ATTRS(2)};

/* The window of the convolution from the output to the input, and the output's height and width. */
static status read_window(const struct layer *layer, const struct shape *image, struct window *window,
                          int64_t out[2]) {
    bool same = !strcmp(layer_string(layer, "padding"), "same");
    const struct attr *padding = layer_attr(layer, "output_padding");
    struct window w;
    STATUS_TRY(window_read(layer, &w));
    for (int i = 0; i < 2; i++) {
        int at = i - (2 - layer->kind->spatial); /* among the layer's axes */
        int64_t n = image->dim[1 + i], in = n == SHAPE_UNKNOWN ? 1 : n, stride = w.stride[i];
        int64_t size = (int64_t)(w.size[i] - 1) * w.dilation[i] + 1, produced;
        if (padding->present && at >= 0) {
            int64_t more = padding->u.ints.v[at];
            if (more < 0 || more >= stride)
                return status_fail(STATUS_DATA,
                                   "attribute \"output_padding\" has %" PRId64
                                   "; it must be between 0 and the stride less 1",
                                   more);
            produced = (in - 1) * stride + (same ? size % 2 : size) + more;
        } else {
            produced = same ? in * stride : (in - 1) * stride + (size > stride ? size : stride);
        }
        int64_t total = same ? (in - 1) * stride + size - produced : 0;
        if (total > 0) {
            w.before[i] = (int)(total / 2);
            w.after[i] = (int)(total - total / 2);
        }
        if (produced < 1)
            return status_fail(STATUS_DATA, "nothing comes out of an input of %" PRId64 " cells", in);
        out[i] = n == SHAPE_UNKNOWN ? SHAPE_UNKNOWN : produced;
    }
    *window = w;
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct window window;
    struct shape image;
    (void)nin;
    STATUS_TRY(kind_positive(layer, "filters"));
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    STATUS_TRY(read_window(layer, &image, &window, &image.dim[1]));
    image.dim[3] = layer_int(layer, "filters");
    out[0] = spatial_shape(layer, &image);
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int64_t filters = layer_int(layer, "filters");
    int n = 0, rows = layer->kind->spatial;
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    weight[n] =
        window_kernel(layer, "kernel", layer_attr(layer, "kernel_size")->u.ints.v, filters, image.dim[3]);
    weight[n].out_axis = rows;
    weight[n++].in_axis = rows + 1;
    if (layer_bool(layer, "use_bias")) weight[n++] = window_bias(filters);
    *nweights = n;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in;
    STATUS_TRY(spatial_input(layer, lowering, &in));
    struct op op = op_make(OP_CONV_TRANSPOSE, &in, 1);
    struct shape image = *lowering_shape(lowering, in), shape = image;
    STATUS_TRY(read_window(layer, &image, &op.u.conv.window, &shape.dim[1]));
    shape.dim[3] = layer_int(layer, "filters");
    op.u.conv.groups = 1;
    op.param[0] = lowering->param[0];
    if (layer_bool(layer, "use_bias")) op.param[1] = lowering->param[1];
    return spatial_output_op(layer, lowering, &op, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "filters")->u.i = n;
    return SUCCESS;
}

#define TRANSPOSE_KIND(symbol, text, n, table)                                                               \
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
        .channels = spatial_channels_fresh,                                                                  \
        .lower = lower,                                                                                      \
        .set_width = set_width,                                                                              \
    }

TRANSPOSE_KIND(conv1d_transpose, "Conv1DTranspose", 1, attrs1d);
TRANSPOSE_KIND(conv2d_transpose, "Conv2DTranspose", 2, attrs2d);

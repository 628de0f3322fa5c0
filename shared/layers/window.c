#include "shared/layers/window.h"

#include <inttypes.h>
#include <string.h>

/* A size no image has; it keeps all arithmetic on windows well inside int. */
#define WINDOW_MAX 32768

/* The numbers of the attribute for height and width. */
static status read_numbers(const struct layer *layer, const char *attr, int pair[2]) {
    int n = layer->kind->spatial;
    pair[0] = 1;
    for (int i = 0; i < n; i++) {
        int64_t value = layer_attr(layer, attr)->u.ints.v[i];
        if (value < 1 || value > WINDOW_MAX)
            return status_fail(STATUS_DATA, "attribute \"%s\" has %" PRId64 "; it must be between 1 and %d",
                               attr, value, WINDOW_MAX);
        pair[2 - n + i] = (int)value;
    }
    return SUCCESS;
}

status window_read(const struct layer *layer, struct window *window) {
    const char *size = layer_has_attr(layer, "pool_size") ? "pool_size" : "kernel_size";
    struct window w = {.dilation = {1, 1}};
    STATUS_TRY(read_numbers(layer, size, w.size));
    STATUS_TRY(read_numbers(layer, layer_attr(layer, "strides")->present ? "strides" : size, w.stride));
    if (layer_has_attr(layer, "dilation_rate")) STATUS_TRY(read_numbers(layer, "dilation_rate", w.dilation));
    *window = w;
    return SUCCESS;
}

status window_of_layer(const struct layer *layer, const struct shape *image, struct window *window,
                       int64_t out[2]) {
    struct window w;
    int64_t known[2], produced[2];
    const char *padding = layer_string(layer, "padding");
    STATUS_TRY(window_read(layer, &w));
    for (int i = 0; i < 2; i++)
        known[i] = image->dim[1 + i] == SHAPE_UNKNOWN ? w.stride[i] : image->dim[1 + i];
    if (!strcmp(padding, "same")) window_pad_same(&w, known);
    else if (!strcmp(padding, "causal")) w.before[1] = (w.size[1] - 1) * w.dilation[1];
    window_output(&w, known, produced);
    for (int i = 0; i < 2; i++) {
        char text[SHAPE_TEXT_MAX];
        if (image->dim[1 + i] == SHAPE_UNKNOWN) produced[i] = SHAPE_UNKNOWN;
        else if (produced[i] < 1)
            return status_fail(
                STATUS_DATA, "a window of %d by %d (dilation %d, %d) does not fit into an input of shape %s",
                w.size[0], w.size[1], w.dilation[0], w.dilation[1], shape_format(image, text));
    }
    for (int i = 0; i < 2; i++) out[i] = produced[i]; /* last: out may lie in *image */
    *window = w;
    return SUCCESS;
}

struct weight window_kernel(const struct layer *layer, const char *name, const int64_t *size, int64_t rows,
                            int64_t columns) {
    struct weight weight = {.name = name, .trainable = true, .in_axis = -1, .out_axis = -1};
    if (layer->kind->spatial == 1) {
        weight.shape = SHAPE(size[0], rows, columns);
        weight.view = SHAPE(1, size[0], rows, columns);
    } else {
        weight.shape = SHAPE(size[0], size[1], rows, columns);
    }
    return weight;
}

struct weight window_bias(int64_t channels) {
    return (struct weight){
        .name = "bias", .shape = SHAPE(channels), .trainable = true, .in_axis = -1, .out_axis = 0};
}

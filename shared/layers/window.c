#include "shared/layers/window.h"

#include <inttypes.h>
#include <string.h>

/* A size no image has; it keeps all arithmetic on windows well inside int. */
#define WINDOW_MAX 32768

static status read_pair(const struct layer *layer, const char *attr, int pair[2]) {
    for (int i = 0; i < 2; i++) {
        int64_t value = layer_attr(layer, attr)->u.ints.v[i];
        if (value < 1 || value > WINDOW_MAX)
            return status_fail(STATUS_DATA, "attribute \"%s\" has %" PRId64 "; it must be between 1 and %d",
                               attr, value, WINDOW_MAX);
        pair[i] = (int)value;
    }
    return SUCCESS;
}

status window_of_layer(const struct layer *layer, const struct shape *in, struct window *window,
                       int64_t out[2]) {
    const char *size = layer_has_attr(layer, "pool_size") ? "pool_size" : "kernel_size";
    struct window w = {.dilation = {1, 1}};
    int64_t known[2], produced[2];
    STATUS_TRY(kind_image(in));
    STATUS_TRY(read_pair(layer, size, w.size));
    STATUS_TRY(read_pair(layer, layer_attr(layer, "strides")->present ? "strides" : size, w.stride));
    if (layer_has_attr(layer, "dilation_rate")) STATUS_TRY(read_pair(layer, "dilation_rate", w.dilation));
    for (int i = 0; i < 2; i++) known[i] = in->dim[1 + i] == SHAPE_UNKNOWN ? w.stride[i] : in->dim[1 + i];
    if (!strcmp(layer_string(layer, "padding"), "same")) window_pad_same(&w, known);
    window_output(&w, known, produced);
    for (int i = 0; i < 2; i++) {
        char text[SHAPE_TEXT_MAX];
        if (in->dim[1 + i] == SHAPE_UNKNOWN) produced[i] = SHAPE_UNKNOWN;
        else if (produced[i] < 1)
            return status_fail(
                STATUS_DATA, "a window of %d by %d (dilation %d, %d) does not fit into an input of shape %s",
                w.size[0], w.size[1], w.dilation[0], w.dilation[1], shape_format(in, text));
    }
    for (int i = 0; i < 2; i++) out[i] = produced[i]; /* last: out may lie in *in */
    *window = w;
    return SUCCESS;
}

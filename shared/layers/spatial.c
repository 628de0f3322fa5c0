#include "shared/layers/spatial.h"

#include "shared/layers/emit.h"

#include <string.h>

bool spatial_channels_first(const struct layer *layer) {
    return layer_has_attr(layer, "data_format") &&
           !strcmp(layer_string(layer, "data_format"), "channels_first");
}

status spatial_image(const struct layer *layer, const struct shape *in, struct shape *image) {
    bool first = spatial_channels_first(layer), sequence = layer->kind->spatial == 1;
    char text[SHAPE_TEXT_MAX];
    int channel = first ? 1 : in->rank - 1, at = first ? 2 : 1;
    if (in->rank != layer->kind->spatial + 2 || in->dim[channel] < 1)
        return status_fail(STATUS_DATA, "its input has shape %s; it takes (%s), channels known",
                           shape_format(in, text),
                           sequence ? first ? "batch, channels, steps" : "batch, steps, channels"
                           : first  ? "batch, channels, height, width"
                                    : "batch, height, width, channels");
    *image = SHAPE(in->dim[0], sequence ? 1 : in->dim[at], in->dim[sequence ? at : at + 1], in->dim[channel]);
    return SUCCESS;
}

struct shape spatial_shape(const struct layer *layer, const struct shape *image) {
    const int64_t *d = image->dim;
    if (layer->kind->spatial == 1)
        return spatial_channels_first(layer) ? SHAPE(d[0], d[3], d[2]) : SHAPE(d[0], d[2], d[3]);
    return spatial_channels_first(layer) ? SHAPE(d[0], d[3], d[1], d[2]) : *image;
}

/* The axes of a value with the channels moved from the second place to the last, or back. */
static status move_channels(const struct layer *layer, struct lowering *lowering, bool to_last, int *value) {
    static const int last[] = {0, 2, 3, 1}, first[] = {0, 3, 1, 2}, swapped[] = {0, 2, 1};
    if (!spatial_channels_first(layer)) return SUCCESS;
    const int *axis = layer->kind->spatial == 1 ? swapped : to_last ? last : first;
    return emit_transpose(lowering, *value, axis, value);
}

status spatial_input(const struct layer *layer, struct lowering *lowering, int *value) {
    struct shape image;
    *value = lowering->in[0];
    STATUS_TRY(spatial_image(layer, lowering_shape(lowering, *value), &image));
    STATUS_TRY(move_channels(layer, lowering, true, value));
    return emit_reshape(lowering, *value, &image, value);
}

/* Functions of single elements are applied before the channels move, so that the next layer can move them
 * back; Keras's softmax is over the last axis, whatever it is. */
status spatial_output(const struct layer *layer, struct lowering *lowering, int value) {
    const char *activation =
        layer_has_attr(layer, "activation") ? layer_string(layer, "activation") : "linear";
    bool early = activation_is_elementwise(activation);
    struct shape image = *lowering_shape(lowering, value);
    if (early) STATUS_TRY(lowering_add_activation(lowering, activation, value, &value));
    if (layer->kind->spatial == 1)
        STATUS_TRY(emit_reshape(lowering, value, &SHAPE(image.dim[0], image.dim[2], image.dim[3]), &value));
    STATUS_TRY(move_channels(layer, lowering, false, &value));
    if (!early) STATUS_TRY(lowering_add_activation(lowering, activation, value, &value));
    lowering->out[0] = value;
    lowering->nout = 1;
    return SUCCESS;
}

status spatial_output_op(const struct layer *layer, struct lowering *lowering, const struct op *op,
                         const struct shape *image) {
    int value;
    STATUS_TRY(lowering_add(lowering, op, image, &value));
    return spatial_output(layer, lowering, value);
}

status spatial_channels_same(const struct layer *layer, struct channels *channels) {
    return spatial_channels_first(layer) ? channels_fix(channels) : channels_same(channels);
}

status spatial_channels_fresh(const struct layer *layer, struct channels *channels) {
    return spatial_channels_first(layer) ? channels_fix(channels) : kind_channels_fresh(layer, channels);
}

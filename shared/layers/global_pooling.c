/* GlobalAveragePooling1D and 2D, GlobalMaxPooling1D and 2D. The average over the steps of a sequence counts
 * those that its mask does; the maximum knows no masks, as in Keras. */
#include "shared/layers/emit.h"
#include "shared/layers/mask.h"
#include "shared/layers/spatial.h"

static const struct attr_spec attrs[] = {
    ATTR_DATA_FORMAT,
    {.name = "keepdims", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_NEWER},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape image;
    (void)nin;
    STATUS_TRY(spatial_image(layer, &in[0], &image));
    image.dim[1] = image.dim[2] = 1;
    out[0] = layer_bool(layer, "keepdims") ? spatial_shape(layer, &image) : SHAPE(image.dim[0], image.dim[3]);
    *nout = 1;
    return SUCCESS;
}

/* (N,H,W,C) or (N,T,C): one number for each channel. */
static status reduce(const struct layer *layer, struct lowering *lowering, enum reduce kind, int value,
                     int *out) {
    struct shape shape;
    struct op op = op_make(OP_REDUCE, &value, 1);
    int rank = lowering_shape(lowering, value)->rank;
    (void)layer;
    shape = SHAPE(lowering_shape(lowering, value)->dim[0], lowering_shape(lowering, value)->dim[rank - 1]);
    op.u.reduce.kind = kind;
    for (int i = 1; i < rank - 1; i++) op.u.reduce.axes |= 1u << i;
    return lowering_add(lowering, &op, &shape, out);
}

/* The sum over the steps that count, divided by their number. */
static status masked_mean(const struct layer *layer, struct lowering *lowering, int value, int mask,
                          int *out) {
    struct shape image = *lowering_shape(lowering, value);
    int sum, count;
    STATUS_TRY(emit_reshape(lowering, value, &SHAPE(image.dim[0], image.dim[2], image.dim[3]), &value));
    STATUS_TRY(mask_apply(lowering, mask, value, &sum));
    STATUS_TRY(reduce(layer, lowering, REDUCE_SUM, sum, &sum));
    STATUS_TRY(emit_reduce(lowering, REDUCE_SUM, mask, 1, true, &count));
    return emit_binary(lowering, BINARY_DIV, sum, count, out);
}

/* Sets the output, (N,C), with the axes that are gone as 1 if the layer keeps them. */
static status finish(const struct layer *layer, struct lowering *lowering, int value) {
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, lowering->in[0]), 1, &shape, &lowering->nout));
    return emit_reshape(lowering, value, &shape, &lowering->out[0]);
}

static status lower_average(const struct layer *layer, struct lowering *lowering) {
    int value, mask = -1;
    STATUS_TRY(spatial_input(layer, lowering, &value));
    if (layer->kind->spatial == 1) STATUS_TRY(mask_of_steps(lowering, &mask));
    STATUS_TRY(mask >= 0 ? masked_mean(layer, lowering, value, mask, &value)
                         : reduce(layer, lowering, REDUCE_MEAN, value, &value));
    return finish(layer, lowering, value);
}

static status lower_max(const struct layer *layer, struct lowering *lowering) {
    int value;
    STATUS_TRY(spatial_input(layer, lowering, &value));
    STATUS_TRY(reduce(layer, lowering, REDUCE_MAX, value, &value));
    return finish(layer, lowering, value);
}

#define GLOBAL_POOLING_KIND(symbol, text, n, lowers)                                                         \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(attrs),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = 1,                                                                                     \
        .spatial = n,                                                                                        \
        .infer = infer,                                                                                      \
        .channels = spatial_channels_same,                                                                   \
        .lower = lowers,                                                                                     \
    }

GLOBAL_POOLING_KIND(global_average_pooling1d, "GlobalAveragePooling1D", 1, lower_average);
GLOBAL_POOLING_KIND(global_average_pooling2d, "GlobalAveragePooling2D", 2, lower_average);
GLOBAL_POOLING_KIND(global_max_pooling1d, "GlobalMaxPooling1D", 1, lower_max);
GLOBAL_POOLING_KIND(global_max_pooling2d, "GlobalMaxPooling2D", 2, lower_max);

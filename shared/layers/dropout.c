/* Dropout; SpatialDropout1D and SpatialDropout2D, which drop whole channels; StochasticDepth, of ConvNeXt in
 * keras.applications, which drops whole samples. */
#include "shared/layers/spatial.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "rate", .type = ATTR_FLOAT},
    {.name = "noise_shape", .type = ATTR_SHAPE, .initial = "null"}, /* 1: one draw for all of the axis */
};

static const struct attr_spec attrs1d[] = {
    {.name = "rate", .type = ATTR_FLOAT},
};

static const struct attr_spec attrs2d[] = {
    {.name = "rate", .type = ATTR_FLOAT},
    ATTR_DATA_FORMAT,
};

static const struct attr_spec depth_attrs[] = {
    {.name = "drop_path_rate", .type = ATTR_FLOAT},
};

static double rate_of(const struct layer *layer) {
    return layer_float(layer, layer_has_attr(layer, "rate") ? "rate" : "drop_path_rate");
}

/* The axes along which all elements are dropped together. */
static status shared_axes(const struct layer *layer, const struct shape *in, unsigned *shared) {
    char text[SHAPE_TEXT_MAX];
    struct shape image;
    *shared = 0;
    if (layer->kind->spatial) {
        STATUS_TRY(spatial_image(layer, in, &image));
        *shared = (layer->kind->spatial == 1 ? 1u : 3u) << (spatial_channels_first(layer) ? 2 : 1);
        return SUCCESS;
    }
    if (!layer_has_attr(layer, "noise_shape")) { /* StochasticDepth */
        *shared = ((1u << in->rank) - 1) & ~1u;
        return SUCCESS;
    }
    const struct attr *noise = layer_attr(layer, "noise_shape");
    if (!noise->present) return SUCCESS;
    if (noise->u.ints.n != in->rank)
        return status_fail(STATUS_DATA, "noise_shape has %d dimensions, but the input has shape %s",
                           noise->u.ints.n, shape_format(in, text));
    for (int i = 0; i < in->rank; i++) {
        int64_t dim = noise->u.ints.v[i];
        if (i == 0 && dim == 1)
            return status_fail(STATUS_UNSUPPORTED,
                               "noise_shape with 1 for the batch is not supported; use null");
        if (i > 0 && dim == 1) *shared |= 1u << i;
        else if (i > 0 && dim != SHAPE_UNKNOWN && dim != in->dim[i])
            return status_fail(STATUS_DATA, "noise_shape has %" PRId64 " where the input has shape %s", dim,
                               shape_format(in, text));
    }
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    double rate = rate_of(layer);
    unsigned shared;
    if (!(rate >= 0 && rate < 1))
        return status_fail(STATUS_DATA, "rate is %g; it must be at least 0 and below 1", rate);
    STATUS_TRY(shared_axes(layer, &in[0], &shared));
    return kind_infer_same(layer, in, nin, out, nout);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_DROPOUT, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    op.u.dropout.rate = (float)rate_of(layer);
    STATUS_TRY(shared_axes(layer, &shape, &op.u.dropout.shared));
    return kind_lower_op(layer, lowering, &op, &shape);
}

#define DROPOUT_KIND(symbol, text, n, table, alone, from)                                                    \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        .module = from,                                                                                      \
        ATTRS(table),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = 1,                                                                                     \
        .spatial = n,                                                                                        \
        .passes_mask = true,                                                                                 \
        .positionwise = alone,                                                                               \
        .infer = infer,                                                                                      \
        .channels = kind_channels_same,                                                                      \
        .lower = lower,                                                                                      \
    }

DROPOUT_KIND(dropout, "Dropout", 0, attrs, true, NULL);
DROPOUT_KIND(spatial_dropout1d, "SpatialDropout1D", 1, attrs1d, false, NULL);
DROPOUT_KIND(spatial_dropout2d, "SpatialDropout2D", 2, attrs2d, false, NULL);
DROPOUT_KIND(stochastic_depth, "StochasticDepth", 0, depth_attrs, false, "keras.src.applications.convnext");

#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "batch_shape", .keras2 = "batch_input_shape", .type = ATTR_SHAPE},
    {.name = "dtype",
     .type = ATTR_STRING,
     .initial = "float32",
     .choices = "float32|float64|float16|bfloat16|int8|uint8|int16|uint16|int32|uint32|int64|uint64|bool"},
    {.name = "sparse", .type = ATTR_BOOL, .initial = "false"},
};

static status check(const struct layer *layer) {
    if (!layer_bool(layer, "sparse")) return SUCCESS;
    return status_fail(STATUS_UNSUPPORTED, "sparse \"true\" is not supported; use dense inputs");
}

/* A fixed batch in the file is ignored: a model takes any number of samples. */
static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const struct attr *attr = layer_attr(layer, "batch_shape");
    (void)in, (void)nin;
    if (attr->u.ints.n < 1 || attr->u.ints.n > SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "batch_shape has %d dimensions; it can have 1 to %d", attr->u.ints.n,
                           SHAPE_MAX_RANK);
    out[0] = (struct shape){.rank = attr->u.ints.n};
    for (int i = 0; i < attr->u.ints.n; i++) {
        int64_t dim = i ? attr->u.ints.v[i] : SHAPE_UNKNOWN;
        if (dim < 1 && dim != SHAPE_UNKNOWN)
            return status_fail(STATUS_DATA, "batch_shape has a dimension of %" PRId64, dim);
        out[0].dim[i] = dim;
    }
    *nout = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    struct shape shape;
    STATUS_TRY(infer(layer, NULL, 0, &shape, &lowering->nout));
    return opgraph_add_value(lowering->graph, &shape, &lowering->out[0]);
}

const struct layer_kind layer_kind_input_layer = {
    .class_name = "InputLayer",
    ATTRS(attrs),
    .check = check,
    .infer = infer,
    .channels = kind_channels_fix,
    .lower = lower,
};

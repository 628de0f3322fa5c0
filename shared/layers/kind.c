#include "shared/layers/kind.h"

#include <inttypes.h>

status kind_check_activation(const struct layer *layer) {
    return activation_check(layer_string(layer, "activation"));
}

status kind_positive(const struct layer *layer, const char *attr) {
    int64_t value = layer_int(layer, attr);
    if (value >= 1) return SUCCESS;
    return status_fail(STATUS_DATA, "attribute \"%s\" is %" PRId64 "; it must be at least 1", attr, value);
}

status kind_axis(const char *attr, int64_t axis, int rank, int *index) {
    if (axis < -rank || axis >= rank)
        return status_fail(STATUS_DATA, "attribute \"%s\" is %" PRId64 ", but the input has %d axes", attr,
                           axis, rank);
    *index = (int)(axis < 0 ? axis + rank : axis);
    return SUCCESS;
}

status kind_infer_same(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                       int *nout) {
    (void)layer, (void)nin;
    out[0] = in[0];
    *nout = 1;
    return SUCCESS;
}

status kind_channels_fresh(const struct layer *layer, struct channels *channels) {
    bool whole =
        layer_has_attr(layer, "activation") && !activation_is_elementwise(layer_string(layer, "activation"));
    return whole ? channels_fresh_whole(channels) : channels_fresh(channels);
}

status kind_channels_same(const struct layer *layer, struct channels *channels) {
    (void)layer;
    return channels_same(channels);
}

status kind_channels_fix(const struct layer *layer, struct channels *channels) {
    (void)layer;
    return channels_fix(channels);
}

status kind_lower_op(const struct layer *layer, struct lowering *lowering, const struct op *op,
                     const struct shape *shape) {
    int value;
    STATUS_TRY(lowering_add(lowering, op, shape, &value));
    if (layer_has_attr(layer, "activation"))
        STATUS_TRY(lowering_add_activation(lowering, layer_string(layer, "activation"), value, &value));
    lowering->out[0] = value;
    lowering->nout = 1;
    return SUCCESS;
}

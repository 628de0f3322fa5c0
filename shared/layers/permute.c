#include "shared/layers/emit.h"
#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "dims", .type = ATTR_INTS}, /* axes of a sample, the first of them 1 */
};

static status read_axes(const struct layer *layer, int rank, int *axis) {
    const struct attr *dims = layer_attr(layer, "dims");
    unsigned seen = 1;
    bool fits = dims->u.ints.n == rank - 1;
    axis[0] = 0;
    for (int i = 1; i < rank && fits; i++) {
        int64_t d = dims->u.ints.v[i - 1];
        fits = d >= 1 && d < rank && !(seen >> d & 1);
        if (!fits) break;
        seen |= 1u << d;
        axis[i] = (int)d;
    }
    if (fits) return SUCCESS;
    return status_fail(STATUS_DATA, "attribute \"dims\" does not order the axes 1 to %d", rank - 1);
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    int axis[SHAPE_MAX_RANK];
    (void)nin;
    STATUS_TRY(read_axes(layer, in[0].rank, axis));
    struct shape shape = in[0];
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = in[0].dim[axis[i]];
    out[0] = shape;
    *nout = 1;
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    int axis[SHAPE_MAX_RANK], last = c->in[0].rank - 1;
    STATUS_TRY(read_axes(layer, c->in[0].rank, axis));
    return axis[last] == last ? channels_same(c) : channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int axis[SHAPE_MAX_RANK];
    STATUS_TRY(read_axes(layer, lowering_shape(lowering, lowering->in[0])->rank, axis));
    lowering->nout = 1;
    return emit_transpose(lowering, lowering->in[0], axis, &lowering->out[0]);
}

const struct layer_kind layer_kind_permute = {
    .class_name = "Permute",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .channels = channels,
    .lower = lower,
};

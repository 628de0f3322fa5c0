#include "shared/layers/axes.h"

#include "shared/layers/emit.h"

#include <inttypes.h>

status axes_read(const struct layer *layer, const char *attr, int rank, unsigned *axes) {
    const struct attr *a = layer_attr(layer, attr);
    *axes = 0;
    for (int i = 0; i < a->u.ints.n; i++) {
        int axis;
        STATUS_TRY(kind_axis(attr, a->u.ints.v[i], rank, &axis));
        if (axis == 0) return status_fail(STATUS_UNSUPPORTED, "%s 0, over the batch, is not supported", attr);
        if (*axes >> axis & 1)
            return status_fail(STATUS_DATA, "attribute \"%s\" has axis %d twice", attr, axis);
        *axes |= 1u << axis;
    }
    return SUCCESS;
}

status axes_shape(const struct shape *in, unsigned axes, struct shape *shape) {
    char text[SHAPE_TEXT_MAX];
    *shape = (struct shape){0};
    for (int i = 1; i < in->rank; i++) {
        if (!(axes >> i & 1)) continue;
        if (in->dim[i] < 1)
            return status_fail(STATUS_DATA, "its input has shape %s; dimension %d must be known",
                               shape_format(in, text), i);
        shape->dim[shape->rank++] = in->dim[i];
    }
    return SUCCESS;
}

/* order[i]: which axis comes at place i when the chosen ones come last. Their number is returned. */
static int order_axes(unsigned axes, int rank, int *order) {
    int n = 0;
    for (int i = 0; i < rank; i++)
        if (!(axes >> i & 1)) order[n++] = i;
    int chosen = rank - n;
    for (int i = 0; i < rank; i++)
        if (axes >> i & 1) order[n++] = i;
    return chosen;
}

status axes_join(struct lowering *lowering, unsigned axes, int *value) {
    const struct shape in = *lowering_shape(lowering, *value);
    int order[SHAPE_MAX_RANK], chosen = order_axes(axes, in.rank, order);
    struct shape joined = {.rank = in.rank - chosen};
    int64_t product = 1;
    for (int i = 0; i < in.rank; i++)
        if (i < joined.rank) joined.dim[i] = in.dim[order[i]];
        else product *= in.dim[order[i]];
    if (joined.rank == SHAPE_MAX_RANK) joined = SHAPE(in.dim[0], shape_sample_count(&in));
    joined.dim[joined.rank++] = product;
    STATUS_TRY(emit_transpose(lowering, *value, order, value));
    return emit_reshape(lowering, *value, &joined, value);
}

status axes_split(struct lowering *lowering, unsigned axes, const struct shape *shape, int *value) {
    const struct shape out = *shape;
    int order[SHAPE_MAX_RANK], back[SHAPE_MAX_RANK];
    struct shape moved = out;
    order_axes(axes, out.rank, order);
    for (int i = 0; i < out.rank; i++) {
        moved.dim[i] = out.dim[order[i]];
        back[order[i]] = i;
    }
    STATUS_TRY(emit_reshape(lowering, *value, &moved, value));
    return emit_transpose(lowering, *value, back, value);
}

#include "shared/layers/mask.h"

#include "shared/layers/emit.h"

status mask_of_steps(const struct lowering *lowering, int *mask) {
    char text[SHAPE_TEXT_MAX];
    *mask = lowering->mask[0];
    if (*mask < 0 || lowering_shape(lowering, *mask)->rank == 2) return SUCCESS;
    return status_fail(STATUS_UNSUPPORTED, "a mask of shape %s is not supported here; use (batch, steps)",
                       shape_format(lowering_shape(lowering, *mask), text));
}

static status combine(struct lowering *lowering, enum binary kind, int a, int b, int *out) {
    *out = a >= 0 ? a : b;
    if (a < 0 || b < 0 || a == b) return SUCCESS;
    const struct shape left = *lowering_shape(lowering, a), right = *lowering_shape(lowering, b);
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    if (left.rank != right.rank)
        return status_fail(STATUS_UNSUPPORTED, "masks of shapes %s and %s cannot be combined",
                           shape_format(&left, x), shape_format(&right, y));
    return emit_binary(lowering, kind, a, b, out);
}

status mask_and(struct lowering *lowering, int a, int b, int *out) {
    return combine(lowering, BINARY_MUL, a, b, out);
}

status mask_or(struct lowering *lowering, int a, int b, int *out) {
    return combine(lowering, BINARY_MAX, a, b, out);
}

status mask_raise(struct lowering *lowering, int mask, int rank, int *out) {
    struct shape shape = *lowering_shape(lowering, mask);
    while (shape.rank < rank) shape.dim[shape.rank++] = 1;
    return emit_reshape(lowering, mask, &shape, out);
}

status mask_apply(struct lowering *lowering, int mask, int value, int *out) {
    int raised;
    STATUS_TRY(mask_raise(lowering, mask, lowering_shape(lowering, value)->rank, &raised));
    return emit_binary(lowering, BINARY_MUL, value, raised, out);
}

#include "shared/layers/unit.h"

#include "shared/layers/emit.h"

status unit_length(struct lowering *lowering, unsigned axes, int value, int *out) {
    struct activation_function inverse = {.kind = ACTIVATION_RSQRT, .gamma = 1e-12f};
    int squares, rank = lowering_shape(lowering, value)->rank;
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, value, value, &squares));
    for (int i = 1; i < rank; i++)
        if (axes >> i & 1) STATUS_TRY(emit_reduce(lowering, REDUCE_SUM, squares, i, true, &squares));
    STATUS_TRY(emit_activation(lowering, &inverse, squares, &squares));
    return emit_binary(lowering, BINARY_MUL, value, squares, out);
}

/* Layers that combine their inputs element by element: Add, Subtract, Multiply, Average, Maximum,
 * Minimum. Shapes broadcast; an input of lower rank gets dimensions of 1 after the batch. */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"

/* One dimension of the result of two that broadcast, or an error. Unknown stays unknown. */
static status broadcast(const struct shape *a, const struct shape *b, int64_t *dim, int64_t other) {
    char left[SHAPE_TEXT_MAX], right[SHAPE_TEXT_MAX];
    if (*dim == SHAPE_UNKNOWN || other == SHAPE_UNKNOWN) *dim = SHAPE_UNKNOWN;
    else if (*dim == 1) *dim = other;
    else if (other != 1 && other != *dim)
        return status_fail(STATUS_DATA, "inputs of shapes %s and %s cannot be combined",
                           shape_format(a, left), shape_format(b, right));
    return SUCCESS;
}

static status broadcast_shapes(const struct shape *a, const struct shape *b, struct shape *out) {
    const struct shape *longer = a->rank >= b->rank ? a : b, *shorter = longer == a ? b : a;
    struct shape result = *longer;
    int offset = longer->rank - shorter->rank;
    for (int i = 1; i < shorter->rank; i++)
        STATUS_TRY(broadcast(a, b, &result.dim[i + offset], shorter->dim[i]));
    *out = result;
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct shape result = in[0];
    (void)layer;
    for (int i = 1; i < nin; i++) STATUS_TRY(broadcast_shapes(&result, &in[i], &result));
    out[0] = result;
    *nout = 1;
    return SUCCESS;
}

/* The value with as many axes as the result has. */
static status raise_rank(struct lowering *lowering, int rank, int *value) {
    struct shape shape = *lowering_shape(lowering, *value), raised = {.rank = rank};
    if (shape.rank == rank) return SUCCESS;
    int added = rank - shape.rank, in = *value;
    for (int i = 0; i < rank; i++)
        raised.dim[i] = i == 0 ? shape.dim[0] : i <= added ? 1 : shape.dim[i - added];
    struct op op = op_make(OP_RESHAPE, &in, 1);
    return lowering_add(lowering, &op, &raised, value);
}

/* Keras 3: steps that count in any input, if all have a mask. Before: those that count in all that have one.
 */
static status merge_masks(struct lowering *lowering) {
    int mask = lowering->mask[0];
    for (int i = 1; i < lowering->nin; i++) {
        if (lowering->keras_version < 3) STATUS_TRY(mask_and(lowering, mask, lowering->mask[i], &mask));
        else if (mask < 0 || lowering->mask[i] < 0) mask = -1;
        else STATUS_TRY(mask_or(lowering, mask, lowering->mask[i], &mask));
    }
    lowering->out_mask[0] = mask;
    return SUCCESS;
}

/* a where the mask is one, b where it is zero. */
static status choose(struct lowering *lowering, int mask, int a, int b, int *out) {
    int rest;
    STATUS_TRY(emit_affine(lowering, mask, -1, 1, &rest));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, a, mask, &a));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, b, rest, &b));
    return emit_binary(lowering, BINARY_ADD, a, b, out);
}

/* The mask of an input as (N,T,1), -1 if it has none. Keras forgets the masks of inputs whose rank it raises.
 */
static status mask_of_input(struct lowering *lowering, int i, int rank, int *mask) {
    char text[SHAPE_TEXT_MAX];
    const struct shape shape = *lowering_shape(lowering, lowering->in[i]);
    *mask = shape.rank == rank ? lowering->mask[i] : -1;
    if (*mask < 0) return SUCCESS;
    if (rank != 3 || lowering_shape(lowering, *mask)->rank != 2)
        return status_fail(STATUS_UNSUPPORTED, "a masked input of shape %s is not supported",
                           shape_format(&shape, text));
    return mask_raise(lowering, *mask, rank, mask);
}

/* In Keras 3, from 3.4 on, steps that do not count leave a product as it is, and in a maximum or minimum give
 * way to what it is of the inputs before; or, if these do not count, are all there is. `sum_mask`: the steps
 * that count in what has been combined so far. */
static status leave_out(struct lowering *lowering, enum binary kind, int mask, bool first, int *sum_mask,
                        int *sum, int *next) {
    int rest;
    if (kind == BINARY_MUL) {
        if (mask < 0) return SUCCESS;
        STATUS_TRY(emit_affine(lowering, mask, -1, 1, &rest));
        STATUS_TRY(emit_binary(lowering, BINARY_MUL, *next, mask, next));
        return emit_binary(lowering, BINARY_ADD, *next, rest, next);
    }
    if (first) {
        *sum_mask = mask;
        return SUCCESS;
    }
    if (mask >= 0) STATUS_TRY(choose(lowering, mask, *next, *sum, next));
    if (*sum_mask >= 0) STATUS_TRY(choose(lowering, *sum_mask, *sum, *next, sum));
    if (mask < 0 || *sum_mask < 0) *sum_mask = -1;
    else STATUS_TRY(mask_or(lowering, *sum_mask, mask, sum_mask));
    return SUCCESS;
}

static status lower(struct lowering *lowering, enum binary kind) {
    int rank = 0, value = -1, sum_mask = -1;
    bool leaves_out =
        lowering->keras_version >= 3 && (kind == BINARY_MUL || kind == BINARY_MAX || kind == BINARY_MIN);
    for (int i = 0; i < lowering->nin; i++) {
        int other = lowering_shape(lowering, lowering->in[i])->rank;
        rank = other > rank ? other : rank;
    }
    for (int i = 0; i < lowering->nin; i++) {
        int next = lowering->in[i], mask = -1;
        if (leaves_out) STATUS_TRY(mask_of_input(lowering, i, rank, &mask));
        STATUS_TRY(raise_rank(lowering, rank, &next));
        if (leaves_out) STATUS_TRY(leave_out(lowering, kind, mask, i == 0, &sum_mask, &value, &next));
        if (i == 0) {
            value = next;
            continue;
        }
        int in[2] = {value, next};
        struct op op = op_make(OP_BINARY, in, 2);
        struct shape shape;
        STATUS_TRY(broadcast_shapes(lowering_shape(lowering, value), lowering_shape(lowering, next), &shape));
        op.u.binary.kind = kind;
        STATUS_TRY(lowering_add(lowering, &op, &shape, &value));
    }
    lowering->out[0] = value;
    lowering->nout = 1;
    return merge_masks(lowering);
}

#define MERGE_LOWER(symbol, operation)                                                                       \
    static status lower_##symbol(const struct layer *layer, struct lowering *lowering) {                     \
        (void)layer;                                                                                         \
        return lower(lowering, operation);                                                                   \
    }

MERGE_LOWER(add, BINARY_ADD)
MERGE_LOWER(multiply, BINARY_MUL)
MERGE_LOWER(subtract, BINARY_SUB)
MERGE_LOWER(maximum, BINARY_MAX)
MERGE_LOWER(minimum, BINARY_MIN)

static status lower_average(const struct layer *layer, struct lowering *lowering) {
    (void)layer;
    STATUS_TRY(lower(lowering, BINARY_ADD));
    return emit_affine(lowering, lowering->out[0], 1.0f / (float)lowering->nin, 0, &lowering->out[0]);
}

#define MERGE_KIND(symbol, text, least, most)                                                                \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        .min_inputs = least,                                                                                 \
        .max_inputs = most,                                                                                  \
        .infer = infer,                                                                                      \
        .channels = kind_channels_same,                                                                      \
        .lower = lower_##symbol,                                                                             \
    }

MERGE_KIND(add, "Add", 1, -1);
MERGE_KIND(average, "Average", 1, -1);
MERGE_KIND(multiply, "Multiply", 1, -1);
MERGE_KIND(subtract, "Subtract", 2, 2);
MERGE_KIND(maximum, "Maximum", 1, -1);
MERGE_KIND(minimum, "Minimum", 1, -1);

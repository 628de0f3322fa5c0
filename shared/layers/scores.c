#include "shared/layers/scores.h"

#include "shared/layers/emit.h"

/* (N,T) with axes of 1 between, so that T is `axis` of `rank`. */
static status place(struct lowering *lowering, int mask, int axis, int rank, int *out) {
    const struct shape from = *lowering_shape(lowering, mask);
    struct shape shape = {.rank = rank};
    char text[SHAPE_TEXT_MAX];
    if (from.rank != 2)
        return status_fail(STATUS_UNSUPPORTED, "a mask of shape %s is not supported here; use (batch, steps)",
                           shape_format(&from, text));
    for (int i = 0; i < rank; i++) shape.dim[i] = i == 0 ? from.dim[0] : i == axis ? from.dim[1] : 1;
    return emit_reshape(lowering, mask, &shape, out);
}

/* Ones where a row may look, (N,1...,T,S): where a causal softmax of zeros is not zero. */
static status causal_ones(struct lowering *lowering, int scores, int *out) {
    const struct activation_function not_zero = {.kind = ACTIVATION_NOT_EQUAL};
    int rank = lowering_shape(lowering, scores)->rank;
    *out = scores;
    for (int i = 1; i < rank - 2; i++) STATUS_TRY(emit_slice(lowering, *out, i, 0, 1, 1, out));
    STATUS_TRY(emit_affine(lowering, *out, 0, 0, out));
    STATUS_TRY(emit_softmax(lowering, *out, true, out));
    return emit_activation(lowering, &not_zero, *out, out);
}

static status both(struct lowering *lowering, int a, int b, int *out) {
    *out = a < 0 ? b : a;
    return a < 0 || b < 0 ? SUCCESS : emit_binary(lowering, BINARY_MUL, a, b, out);
}

static status apply(struct lowering *lowering, const struct score_mask *mask, int *scores) {
    int rank = lowering_shape(lowering, *scores)->rank, seen = -1, more;
    if (mask->query >= 0) STATUS_TRY(place(lowering, mask->query, rank - 2, rank, &seen));
    if (mask->key >= 0) {
        STATUS_TRY(place(lowering, mask->key, rank - 1, rank, &more));
        STATUS_TRY(both(lowering, seen, more, &seen));
    }
    if (mask->causal) {
        STATUS_TRY(causal_ones(lowering, *scores, &more));
        STATUS_TRY(both(lowering, seen, more, &seen));
    }
    if (mask->replace) STATUS_TRY(emit_binary(lowering, BINARY_MUL, *scores, seen, scores));
    STATUS_TRY(emit_affine(lowering, seen, 1e9f, -1e9f, &seen));
    return emit_binary(lowering, BINARY_ADD, *scores, seen, scores);
}

status scores_softmax(struct lowering *lowering, int scores, const struct score_mask *mask, double dropout,
                      int *weights) {
    bool masked = mask->query >= 0 || mask->key >= 0;
    if (masked) STATUS_TRY(apply(lowering, mask, &scores));
    STATUS_TRY(emit_softmax(lowering, scores, mask->causal && !masked, weights));
    return emit_dropout(lowering, *weights, dropout, weights);
}

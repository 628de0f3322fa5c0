/* Products of matrices, layer normalization, embeddings. */
#include "io/onnx/emit.h"

/* On the last axis. */
status onnx_emit_dense(struct onnx_export *e, const struct op *op) {
    const char *x = onnx_in(e, op->in[0], LAYOUT_LAST), *kernel = onnx_param(e, op->param[0], NULL);
    const char *bias = op->param[1] >= 0 ? onnx_param(e, op->param[1], NULL) : NULL;
    if (onnx_shape(e, op->in[0])->rank == 2) {
        const char *in[3] = {x, kernel, bias};
        x = onnx_graph_node(e->onnx, "Gemm", bias ? 3 : 2, in, ONNX_PLAIN);
    } else {
        x = onnx_graph_node(e->onnx, "MatMul", ONNX_IN(x, kernel), ONNX_PLAIN);
        if (bias) x = onnx_graph_node(e->onnx, "Add", ONNX_IN(x, bias), ONNX_PLAIN);
    }
    onnx_set(e, op->out, LAYOUT_LAST, x);
    return SUCCESS;
}

static const char *factor(struct onnx_export *e, int value, bool transposed) {
    const int rank = onnx_shape(e, value)->rank;
    int64_t perm[SHAPE_MAX_RANK];
    const char *x = onnx_in(e, value, LAYOUT_LAST);
    if (!transposed) return x;
    for (int i = 0; i < rank; i++) perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    return onnx_graph_node(e->onnx, "Transpose", ONNX_IN(x), ONNX_WITH(ONNX_INTS("perm", rank, perm)));
}

status onnx_emit_matmul(struct onnx_export *e, const struct op *op) {
    const char *a = factor(e, op->in[0], op->u.matmul.transpose_a);
    const char *b = factor(e, op->in[1], op->u.matmul.transpose_b);
    const char *y = onnx_graph_node(e->onnx, "MatMul", ONNX_IN(a, b), ONNX_PLAIN);
    if (op->u.matmul.scale != 1)
        y = onnx_graph_node(e->onnx, "Mul", ONNX_IN(y, onnx_graph_number(e->onnx, op->u.matmul.scale)),
                            ONNX_PLAIN);
    onnx_set(e, op->out, LAYOUT_LAST, y);
    return SUCCESS;
}

/* ---- layer normalization ---- */

/* The axes that are normalized, behind the others: perm[] of a Transpose; how many they are. */
static int axes_last(unsigned axes, int rank, int64_t *perm) {
    int n = 0;
    for (int i = 0; i < rank; i++)
        if (!(axes >> i & 1)) perm[n++] = i;
    const int others = n;
    for (int i = 0; i < rank; i++)
        if (axes >> i & 1) perm[n++] = i;
    return rank - others;
}

static bool in_order(const int64_t *perm, int rank) {
    for (int i = 0; i < rank; i++)
        if (perm[i] != i) return false;
    return true;
}

static const char *transposed(struct onnx_export *e, const char *x, int rank, const int64_t *perm) {
    return onnx_graph_node(e->onnx, "Transpose", ONNX_IN(x), ONNX_WITH(ONNX_INTS("perm", rank, perm)));
}

static const char *gamma_of(struct onnx_export *e, const struct op *op, const struct shape *normalized) {
    if (op->param[0] >= 0) return onnx_param(e, op->param[0], normalized);
    int64_t count = 1;
    for (int i = 0; i < normalized->rank; i++) count *= normalized->dim[i];
    float *ones = onnx_graph_memory(e->onnx, count);
    for (int64_t i = 0; ones && i < count; i++) ones[i] = 1;
    return onnx_graph_floats(e->onnx, "ones", normalized, ones, true);
}

status onnx_emit_layer_norm(struct onnx_export *e, const struct op *op) {
    const struct shape *shape = onnx_shape(e, op->in[0]);
    const int rank = shape->rank;
    int64_t perm[SHAPE_MAX_RANK], back[SHAPE_MAX_RANK];
    struct shape normalized = {.rank = 0};
    const int n = axes_last(op->u.norm.axes, rank, perm);
    for (int i = rank - n; i < rank; i++) {
        if (shape->dim[perm[i]] == SHAPE_UNKNOWN) return onnx_refuse_unknown(e, op);
        normalized.dim[normalized.rank++] = shape->dim[perm[i]];
    }
    for (int i = 0; i < rank; i++) back[perm[i]] = i;
    const bool moves = !in_order(perm, rank);
    const char *x = onnx_in(e, op->in[0], LAYOUT_LAST);
    if (moves) x = transposed(e, x, rank, perm);
    const char *in[3] = {x, gamma_of(e, op, &normalized)};
    if (op->param[1] >= 0) in[2] = onnx_param(e, op->param[1], &normalized);
    x = onnx_graph_node(e->onnx, "LayerNormalization", op->param[1] >= 0 ? 3 : 2, in,
                        ONNX_WITH(ONNX_INT("axis", rank - n), ONNX_FLOAT("epsilon", op->u.norm.epsilon)));
    if (moves) x = transposed(e, x, rank, back);
    onnx_set(e, op->out, LAYOUT_LAST, x);
    return SUCCESS;
}

/* Ids come as float32; fractions are dropped. */
status onnx_emit_embedding(struct onnx_export *e, const struct op *op) {
    const char *ids = onnx_graph_node(e->onnx, "Cast", ONNX_IN(onnx_in(e, op->in[0], LAYOUT_LAST)),
                                      ONNX_WITH(ONNX_INT("to", 7)));
    onnx_set(e, op->out, LAYOUT_LAST,
             onnx_graph_node(e->onnx, "Gather", ONNX_IN(onnx_param(e, op->param[0], NULL), ids),
                             ONNX_WITH(ONNX_INT("axis", 0))));
    return SUCCESS;
}

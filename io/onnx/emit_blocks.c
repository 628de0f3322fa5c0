/* Pixels that become channels, and back: a reshape, a transposition and a reshape of which ONNX makes one. */
#include "io/onnx/emit.h"

/* The operation of that kind that alone reads a value, which is no output; NULL if there is none. */
static const struct op *follower(const struct onnx_export *e, int value, enum op_kind kind) {
    const int i = opgraph_only_reader(e->ops, value);
    for (int k = 0; k < e->ops->noutputs; k++)
        if (e->ops->output[k] == value) return NULL;
    return i >= 0 && e->ops->op[i].kind == kind ? &e->ops->op[i] : NULL;
}

static bool swaps_middle(const struct op *op) {
    static const int order[] = {0, 1, 3, 2, 4, 5};
    for (int i = 0; i < 6; i++)
        if (op->u.transpose.axis[i] != order[i]) return false;
    return true;
}

/* Do the parts make the axis? What is not known is taken to. */
static bool makes(int64_t axis, int64_t a, int64_t b) {
    return axis < 0 || a < 0 || b < 0 || axis == a * b;
}

/* (N,H,W,b*b*C), as (N,H,W,b,b,C), to (N,H*b,W*b,C). */
static bool goes_to_space(const int64_t *in, const int64_t *split, const int64_t *out) {
    const int64_t b = split[3];
    return b > 1 && split[4] == b && in[1] == split[1] && in[2] == split[2] && out[3] == split[5] &&
           makes(out[1], in[1], b) && makes(out[2], in[2], b);
}

/* (N,H*b,W*b,C), as (N,H,b,W,b,C), to (N,H,W,b*b*C). */
static bool goes_to_depth(const int64_t *in, const int64_t *split, const int64_t *out) {
    const int64_t b = split[2];
    return b > 1 && split[4] == b && in[3] == split[5] && out[3] == b * b * in[3] &&
           makes(in[1], split[1], b) && makes(in[2], split[3], b) && out[1] == split[1] && out[2] == split[3];
}

bool onnx_emit_blocks(struct onnx_export *e, const struct op *op) {
    const struct shape *in = onnx_shape(e, op->in[0]), *split = onnx_shape(e, op->out);
    if (in->rank != 4 || split->rank != 6) return false;
    const struct op *swap = follower(e, op->out, OP_TRANSPOSE);
    const struct op *join = swap && swaps_middle(swap) ? follower(e, swap->out, OP_RESHAPE) : NULL;
    if (!join || onnx_shape(e, join->out)->rank != 4) return false;
    const int64_t *out = onnx_shape(e, join->out)->dim;
    const bool to_space = goes_to_space(in->dim, split->dim, out);
    if (!to_space && !goes_to_depth(in->dim, split->dim, out)) return false;
    const int64_t block = split->dim[to_space ? 3 : 2];
    onnx_set(e, op->out, LAYOUT_LAST, ""); /* nobody else asks for them */
    onnx_set(e, swap->out, LAYOUT_LAST, "");
    onnx_set(e, join->out, LAYOUT_FIRST,
             onnx_graph_node(e->onnx, to_space ? "DepthToSpace" : "SpaceToDepth",
                             ONNX_IN(onnx_in(e, op->in[0], LAYOUT_FIRST)),
                             ONNX_WITH(ONNX_INT("blocksize", block))));
    return true;
}

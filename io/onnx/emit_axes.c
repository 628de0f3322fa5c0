/* Operations that move elements or work along axes. */
#include "io/onnx/emit.h"

#include <stdlib.h>

status onnx_emit_concat(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    const int rank = onnx_shape(e, op->out)->rank;
    const char **in = malloc((size_t)op->nin * sizeof *in);
    if (!in) return status_no_memory("an ONNX graph", (size_t)op->nin * sizeof *in);
    for (int i = 0; i < op->nin; i++) in[i] = onnx_in(e, op->in[i], layout);
    onnx_set(e, op->out, layout,
             onnx_graph_node(e->onnx, "Concat", op->nin, in,
                             ONNX_WITH(ONNX_INT("axis", onnx_axis(rank, layout, op->u.axis.axis)))));
    free(in);
    return SUCCESS;
}

/* Is it never below zero? */
static bool is_positive(const struct onnx_export *e, int value) {
    const int i = opgraph_producer(e->ops, value);
    if (i < 0 || e->ops->op[i].kind != OP_ACTIVATION) return false;
    const struct activation_function *f = &e->ops->op[i].u.act;
    return (f->kind == ACTIVATION_RELU && f->alpha == 0 && f->gamma >= 0) || f->kind == ACTIVATION_SIGMOID;
}

static bool feeds_max_pool(const struct onnx_export *e, int value) {
    const int i = opgraph_only_reader(e->ops, value);
    return i >= 0 && e->ops->op[i].kind == OP_POOL && e->ops->op[i].u.pool.kind == POOL_MAX;
}

/* ONNX Runtime makes of zeros around an image the padding of a MaxPool after it, which is never the maximum.
 * It does not take a negative zero for one. */
static const char *padding(struct onnx_export *e, const struct op *op) {
    const bool guarded = feeds_max_pool(e, op->out) && !is_positive(e, op->in[0]);
    return guarded ? onnx_graph_number(e->onnx, -0.0f) : "";
}

status onnx_emit_pad(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    const int rank = onnx_shape(e, op->out)->rank;
    int64_t pads[2 * SHAPE_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        const int at = onnx_axis(rank, layout, i);
        pads[at] = op->u.pad.before[i];
        pads[rank + at] = op->u.pad.after[i];
    }
    const char *in[] = {onnx_in(e, op->in[0], layout), onnx_graph_ints(e->onnx, "pads", 2 * rank, pads),
                        padding(e, op)};
    onnx_set(e, op->out, layout, onnx_graph_node(e->onnx, "Pad", *in[2] ? 3 : 2, in, ONNX_PLAIN));
    return SUCCESS;
}

/* Of axes of unknown length all is taken, as it is. */
status onnx_emit_slice(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    const struct shape *in = onnx_shape(e, op->in[0]), *out = onnx_shape(e, op->out);
    int64_t start[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK], axis[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
    int n = 0;
    for (int i = 1; i < in->rank; i++) {
        const int64_t first = op->u.slice.start[i], by = op->u.slice.step[i];
        if (first == 0 && by == 1 && out->dim[i] == in->dim[i]) continue;
        if (out->dim[i] == SHAPE_UNKNOWN || in->dim[i] == SHAPE_UNKNOWN) return onnx_refuse_unknown(e, op);
        start[n] = first;
        end[n] = first + by * out->dim[i];
        if (end[n] < 0) end[n] = INT64_MIN; /* backwards, to the first */
        axis[n] = onnx_axis(in->rank, layout, i);
        step[n++] = by;
    }
    const char *x = onnx_in(e, op->in[0], layout);
    if (n)
        x = onnx_graph_node(
            e->onnx, "Slice",
            ONNX_IN(x, onnx_graph_ints(e->onnx, "starts", n, start), onnx_graph_ints(e->onnx, "ends", n, end),
                    onnx_graph_ints(e->onnx, "axes", n, axis), onnx_graph_ints(e->onnx, "steps", n, step)),
            ONNX_PLAIN);
    onnx_set(e, op->out, layout, x);
    return SUCCESS;
}

/* perm[i]: which axis of the input, in its layout, is axis i of the output in its own. */
static bool permutation(const struct op *op, int rank, enum layout in, enum layout out, int64_t *perm) {
    bool identity = true;
    for (int i = 0; i < rank; i++) {
        const int at = onnx_axis(rank, out, i);
        perm[at] = onnx_axis(rank, in, op->u.transpose.axis[i]);
        identity = identity && perm[at] == at;
    }
    return identity;
}

status onnx_emit_transpose(struct onnx_export *e, const struct op *op) {
    const int rank = onnx_shape(e, op->out)->rank;
    int64_t perm[SHAPE_MAX_RANK];
    for (enum layout in = LAYOUT_LAST; in <= LAYOUT_FIRST; in++)
        for (enum layout out = LAYOUT_LAST; out <= LAYOUT_FIRST; out++)
            if (onnx_has(e, op->in[0], in) && permutation(op, rank, in, out, perm)) {
                onnx_set(e, op->out, out, onnx_in(e, op->in[0], in));
                return SUCCESS;
            }
    const enum layout in = onnx_has(e, op->in[0], LAYOUT_LAST) ? LAYOUT_LAST : LAYOUT_FIRST;
    permutation(op, rank, in, LAYOUT_LAST, perm);
    const char *x = onnx_in(e, op->in[0], in);
    onnx_set(e, op->out, LAYOUT_LAST,
             onnx_graph_node(e->onnx, "Transpose", ONNX_IN(x), ONNX_WITH(ONNX_INTS("perm", rank, perm))));
    return SUCCESS;
}

/* ---- reshape ---- */

/* Are the axes between the batch and the last the same but for those of 1, and so is the last? */
static bool only_ones_differ(const struct shape *a, const struct shape *b) {
    int i = 1, k = 1;
    if (a->dim[a->rank - 1] != b->dim[b->rank - 1] || a->rank < 2 || b->rank < 2) return false;
    for (;; i++, k++) {
        while (i < a->rank - 1 && a->dim[i] == 1) i++;
        while (k < b->rank - 1 && b->dim[k] == 1) k++;
        if (i >= a->rank - 1 || k >= b->rank - 1) return i >= a->rank - 1 && k >= b->rank - 1;
        if (a->dim[i] != b->dim[k]) return false;
    }
}

/* What differs in axes of 1 keeps its layout; vectors become what convolutions take. */
static enum layout reshape_layout(const struct onnx_export *e, const struct op *op) {
    const struct shape *in = onnx_shape(e, op->in[0]), *out = onnx_shape(e, op->out);
    if (!only_ones_differ(in, out)) return LAYOUT_LAST;
    if (in->rank < 3) return LAYOUT_FIRST;
    return onnx_has(e, op->in[0], LAYOUT_LAST) ? LAYOUT_LAST : LAYOUT_FIRST;
}

status onnx_emit_reshape(struct onnx_export *e, const struct op *op) {
    const enum layout layout = reshape_layout(e, op);
    const struct shape in = onnx_layout_shape(onnx_shape(e, op->in[0]), layout);
    const struct shape out = onnx_layout_shape(onnx_shape(e, op->out), layout);
    const char *x = onnx_in(e, op->in[0], layout), *target;
    status error = onnx_target(e, &in, &out, &target);
    if (error) {
        status_drop(&error);
        return onnx_refuse_unknown(e, op);
    }
    onnx_set(e, op->out, layout, onnx_graph_node(e->onnx, "Reshape", ONNX_IN(x, target), ONNX_PLAIN));
    return SUCCESS;
}

/* ---- reduce ---- */

/* The mean or maximum of each whole channel of an image. */
static const char *whole_channels(struct onnx_export *e, const struct op *op, bool keeps) {
    const char *x = onnx_in(e, op->in[0], LAYOUT_FIRST);
    x = onnx_graph_node(e->onnx, op->u.reduce.kind == REDUCE_MEAN ? "GlobalAveragePool" : "GlobalMaxPool",
                        ONNX_IN(x), ONNX_PLAIN);
    return keeps ? x : onnx_graph_node(e->onnx, "Flatten", ONNX_IN(x), ONNX_WITH(ONNX_INT("axis", 1)));
}

/* Do the axes that are left, in the order of that layout, make the output in one of the layouts? */
static bool leaves_in_order(const struct onnx_export *e, const struct op *op, enum layout layout,
                            enum layout *out) {
    const int rank = onnx_shape(e, op->in[0])->rank, left = onnx_shape(e, op->out)->rank;
    int at[SHAPE_MAX_RANK], n = 0;
    for (int i = 0; i < rank; i++)
        if (!(op->u.reduce.axes >> i & 1)) at[n++] = onnx_axis(rank, layout, i);
    for (*out = LAYOUT_LAST; *out <= LAYOUT_FIRST; ++*out) {
        bool ascending = n == left;
        int order[SHAPE_MAX_RANK];
        for (int i = 0; i < n && ascending; i++) order[onnx_axis(n, *out, i)] = at[i];
        for (int i = 1; i < n && ascending; i++) ascending = order[i] > order[i - 1];
        if (ascending) return true;
    }
    return false;
}

status onnx_emit_reduce(struct onnx_export *e, const struct op *op) {
    static const char *const names[] = {
        [REDUCE_MEAN] = "ReduceMean", [REDUCE_MAX] = "ReduceMax", [REDUCE_SUM] = "ReduceSum"};
    const int rank = onnx_shape(e, op->in[0])->rank;
    const bool keeps = onnx_shape(e, op->out)->rank == rank, sum = op->u.reduce.kind == REDUCE_SUM;
    enum layout layout = onnx_common_layout(e, op), out = layout;
    if (rank == 4 && op->u.reduce.axes == 6 && !sum && layout == LAYOUT_FIRST) {
        onnx_set(e, op->out, LAYOUT_FIRST, whole_channels(e, op, keeps));
        return SUCCESS;
    }
    if (!keeps && !leaves_in_order(e, op, layout, &out)) layout = out = LAYOUT_LAST;
    int64_t axes[SHAPE_MAX_RANK];
    int n = 0;
    for (int i = 0; i < rank; i++)
        if (op->u.reduce.axes >> i & 1) axes[n++] = onnx_axis(rank, layout, i);
    const char *x = onnx_in(e, op->in[0], layout);
    if (sum)
        x = onnx_graph_node(e->onnx, "ReduceSum", ONNX_IN(x, onnx_graph_ints(e->onnx, "axes", n, axes)),
                            ONNX_WITH(ONNX_INT("keepdims", keeps)));
    else
        x = onnx_graph_node(e->onnx, names[op->u.reduce.kind], ONNX_IN(x),
                            ONNX_WITH(ONNX_INTS("axes", n, axes), ONNX_INT("keepdims", keeps)));
    onnx_set(e, op->out, out, x);
    return SUCCESS;
}

/* ---- softmax ---- */

/* Less than what any softmax sees: its power is 0. */
#define UNSEEN (-1e30f)

/* Row i sees columns 0 to i. */
static const char *hide_later(struct onnx_export *e, const char *x, const struct shape *shape) {
    const int64_t rows = shape->dim[shape->rank - 2], columns = shape->dim[shape->rank - 1];
    float *mask = onnx_graph_memory(e->onnx, rows * columns);
    for (int64_t i = 0; mask && i < rows * columns; i++) mask[i] = i % columns > i / columns ? UNSEEN : 0;
    return onnx_graph_node(
        e->onnx, "Add",
        ONNX_IN(x, onnx_graph_floats(e->onnx, "causal_mask", &SHAPE(rows, columns), mask, true)), ONNX_PLAIN);
}

status onnx_emit_softmax(struct onnx_export *e, const struct op *op) {
    const struct shape *shape = onnx_shape(e, op->out);
    const int rank = shape->rank;
    const enum layout layout = op->u.axis.causal ? LAYOUT_LAST : onnx_common_layout(e, op);
    const char *x = onnx_in(e, op->in[0], layout);
    if (op->u.axis.causal) {
        if (shape->dim[rank - 1] < 0 || shape->dim[rank - 2] < 0) return onnx_refuse_unknown(e, op);
        x = hide_later(e, x, shape);
    }
    onnx_set(e, op->out, layout,
             onnx_graph_node(e->onnx, "Softmax", ONNX_IN(x),
                             ONNX_WITH(ONNX_INT("axis", onnx_axis(rank, layout, op->u.axis.axis)))));
    return SUCCESS;
}

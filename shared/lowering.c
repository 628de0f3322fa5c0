/* What layer kinds use to emit operations. */
#include "shared/layer.h"

#include <stdlib.h>
#include <string.h>

struct op op_make(enum op_kind kind, int *in, int nin) {
    return (struct op){.kind = kind, .node = -1, .nin = nin, .in = in, .out = -1, .param = {-1, -1, -1, -1}};
}

const struct shape *lowering_shape(const struct lowering *lowering, int value) {
    return &lowering->graph->value[value];
}

static status append(struct lowering *lowering, const struct op *op, const struct shape *shape, int *value) {
    struct op copy = *op;
    copy.node = lowering->node;
    return opgraph_add_op(lowering->graph, &copy, shape, value);
}

/* The transposition that makes a value, or NULL; good until the next operation is appended. */
static const struct op *transposition(const struct lowering *lowering, int value) {
    int i = opgraph_producer(lowering->graph, value);
    const struct op *op = i >= 0 ? &lowering->graph->op[i] : NULL;
    return op && op->kind == OP_TRANSPOSE ? op : NULL;
}

/* Do the axes that are not 1 keep their order, so that no element moves? */
static bool moves_nothing(const struct shape *in, const int *axis) {
    for (int i = 0, last = -1; i < in->rank; i++) {
        if (in->dim[axis[i]] == 1) continue;
        if (axis[i] < last) return false;
        last = axis[i];
    }
    return true;
}

static status add_transpose(struct lowering *lowering, const struct op *op, const struct shape *shape,
                            int *value) {
    const struct op *before = transposition(lowering, op->in[0]);
    struct op joined = *op;
    int in = before ? before->in[0] : op->in[0];
    bool identity = true;
    for (int i = 0; i < shape->rank; i++) {
        int axis = op->u.transpose.axis[i];
        if (before) axis = before->u.transpose.axis[axis];
        joined.u.transpose.axis[i] = axis;
        identity = identity && axis == i;
    }
    joined.in = &in;
    if (identity) {
        *value = in;
        return SUCCESS;
    }
    struct op reshape = op_make(OP_RESHAPE, &in, 1);
    bool moves = !moves_nothing(lowering_shape(lowering, in), joined.u.transpose.axis);
    return append(lowering, moves ? &joined : &reshape, shape, value);
}

/* Does the operation do the same to every element, so that it can be done before a transposition of its
 * inputs? */
static bool commutes(const struct op *op) {
    switch (op->kind) {
    case OP_ACTIVATION:
    case OP_BINARY:
    case OP_CONCAT:
        return true;
    case OP_AFFINE:
        return op->u.affine.n == 1;
    case OP_DROPOUT:
        return !op->u.dropout.shared;
    default:
        return false;
    }
}

/* The transposition that all inputs have been through; false if there is no such one. */
static bool common_transposition(const struct lowering *lowering, const struct op *op, int *axis) {
    int rank = lowering_shape(lowering, op->in[0])->rank;
    size_t size = (size_t)rank * sizeof *axis;
    for (int i = 0; i < op->nin; i++) {
        const struct op *before = transposition(lowering, op->in[i]);
        if (!before || lowering_shape(lowering, op->in[i])->rank != rank) return false;
        if (i > 0 && memcmp(axis, before->u.transpose.axis, size) != 0) return false;
        memcpy(axis, before->u.transpose.axis, size);
    }
    return true;
}

/* The operation on what its inputs are the transposition of, and the transposition after it. */
static status add_before(struct lowering *lowering, const struct op *op, const struct shape *shape,
                         const int *axis, int *value) {
    struct op moved = *op, after = op_make(OP_TRANSPOSE, value, 1);
    struct shape inner = *shape, outer = *shape;
    moved.in = malloc((size_t)op->nin * sizeof *moved.in);
    if (!moved.in) return status_no_memory("an operation", (size_t)op->nin * sizeof *moved.in);
    for (int i = 0; i < op->nin; i++) moved.in[i] = transposition(lowering, op->in[i])->in[0];
    for (int i = 0; i < shape->rank; i++) {
        inner.dim[axis[i]] = shape->dim[i];
        after.u.transpose.axis[i] = axis[i];
    }
    if (op->kind == OP_CONCAT) moved.u.axis.axis = axis[op->u.axis.axis];
    status error = append(lowering, &moved, &inner, value);
    free(moved.in);
    STATUS_TRY(error);
    error = append(lowering, &after, &outer, value);
    if (error && op->kind == OP_AFFINE) { /* the caller keeps its constants */
        struct op *last = &lowering->graph->op[lowering->graph->nops - 1];
        last->u.affine.scale = last->u.affine.offset = NULL;
    }
    return error;
}

status lowering_add(struct lowering *lowering, const struct op *op, const struct shape *shape, int *value) {
    int axis[SHAPE_MAX_RANK];
    if (op->kind == OP_TRANSPOSE) return add_transpose(lowering, op, shape, value);
    if (commutes(op) && common_transposition(lowering, op, axis))
        return add_before(lowering, op, shape, axis, value);
    return append(lowering, op, shape, value);
}

status layer_lower(const struct layer *layer, struct lowering *lowering) {
    int mask = -1;
    for (int k = 0; layer->kind->passes_mask && mask < 0 && k < lowering->nin; k++) mask = lowering->mask[k];
    for (int k = 0; k < LAYER_MAX_OUTPUTS; k++) lowering->out_mask[k] = mask;
    return layer->kind->lower(layer, lowering);
}

#include "shared/layers/emit.h"

#include <stdlib.h>
#include <string.h>

status emit_reshape(struct lowering *lowering, int value, const struct shape *shape, int *out) {
    struct op op = op_make(OP_RESHAPE, &value, 1);
    *out = value;
    if (shape_equal(lowering_shape(lowering, value), shape)) return SUCCESS;
    return lowering_add(lowering, &op, shape, out);
}

status emit_transpose(struct lowering *lowering, int value, const int *axis, int *out) {
    struct op op = op_make(OP_TRANSPOSE, &value, 1);
    const struct shape from = *lowering_shape(lowering, value);
    struct shape shape = from;
    for (int i = 0; i < from.rank; i++) {
        op.u.transpose.axis[i] = axis[i];
        shape.dim[i] = from.dim[axis[i]];
    }
    return lowering_add(lowering, &op, &shape, out);
}

status emit_slice(struct lowering *lowering, int value, int axis, int64_t start, int64_t count, int step,
                  int *out) {
    struct op op = op_make(OP_SLICE, &value, 1);
    struct shape shape = *lowering_shape(lowering, value);
    for (int i = 0; i < shape.rank; i++) op.u.slice.step[i] = 1;
    op.u.slice.start[axis] = (int)start;
    op.u.slice.step[axis] = step;
    shape.dim[axis] = count;
    return lowering_add(lowering, &op, &shape, out);
}

status emit_reverse(struct lowering *lowering, int value, int axis, int *out) {
    int64_t n = lowering_shape(lowering, value)->dim[axis];
    return emit_slice(lowering, value, axis, n > 0 ? n - 1 : 0, n, -1, out);
}

status emit_concat(struct lowering *lowering, int n, const int *values, int axis, int *out) {
    int *in = malloc((size_t)n * sizeof *in);
    if (!in) return status_no_memory("an operation", (size_t)n * sizeof *in);
    memcpy(in, values, (size_t)n * sizeof *in);
    struct op op = op_make(OP_CONCAT, in, n);
    struct shape shape = *lowering_shape(lowering, in[0]);
    op.u.axis.axis = axis;
    for (int i = 1; i < n; i++) {
        int64_t more = lowering_shape(lowering, in[i])->dim[axis];
        shape.dim[axis] = shape.dim[axis] < 0 || more < 0 ? SHAPE_UNKNOWN : shape.dim[axis] + more;
    }
    status error = lowering_add(lowering, &op, &shape, out);
    free(in);
    return error;
}

status emit_binary(struct lowering *lowering, enum binary kind, int a, int b, int *out) {
    int in[2] = {a, b};
    struct op op = op_make(OP_BINARY, in, 2);
    const struct shape left = *lowering_shape(lowering, a), right = *lowering_shape(lowering, b);
    struct shape shape = left;
    bool fits = left.rank == right.rank;
    op.u.binary.kind = kind;
    for (int i = 0; fits && i < left.rank; i++) {
        if (left.dim[i] == 1) shape.dim[i] = right.dim[i];
        else if (right.dim[i] != 1 && right.dim[i] != left.dim[i]) {
            fits = left.dim[i] < 0 || right.dim[i] < 0;
            if (left.dim[i] < 0) shape.dim[i] = right.dim[i];
        }
    }
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    if (!fits)
        return status_fail(STATUS_INTERNAL, "values of shapes %s and %s do not fit", shape_format(&left, x),
                           shape_format(&right, y));
    return lowering_add(lowering, &op, &shape, out);
}

status emit_affine(struct lowering *lowering, int value, float scale, float offset, int *out) {
    struct op op = op_make(OP_AFFINE, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.u.affine.n = 1;
    op.u.affine.scale = malloc(sizeof(float));
    op.u.affine.offset = malloc(sizeof(float));
    status error = SUCCESS;
    if (!op.u.affine.scale || !op.u.affine.offset) {
        error = status_no_memory("constants", sizeof(float));
    } else {
        *op.u.affine.scale = scale;
        *op.u.affine.offset = offset;
        error = lowering_add(lowering, &op, &shape, out);
    }
    if (error) {
        free(op.u.affine.scale);
        free(op.u.affine.offset);
    }
    return error;
}

status emit_activation(struct lowering *lowering, const struct activation_function *function, int value,
                       int *out) {
    struct op op = op_make(OP_ACTIVATION, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.u.act = *function;
    return lowering_add(lowering, &op, &shape, out);
}

status emit_reduce(struct lowering *lowering, enum reduce kind, int value, int axis, bool keep, int *out) {
    struct op op = op_make(OP_REDUCE, &value, 1);
    struct shape shape = *lowering_shape(lowering, value);
    op.u.reduce.kind = kind;
    op.u.reduce.axes = 1u << axis;
    shape.dim[axis] = 1;
    if (!keep) {
        for (int i = axis; i + 1 < shape.rank; i++) shape.dim[i] = shape.dim[i + 1];
        shape.dim[--shape.rank] = 0;
    }
    return lowering_add(lowering, &op, &shape, out);
}

status emit_matmul(struct lowering *lowering, int a, int b, bool transpose_b, float scale, int *out) {
    int in[2] = {a, b};
    struct op op = op_make(OP_MATMUL, in, 2);
    const struct shape right = *lowering_shape(lowering, b);
    struct shape shape = *lowering_shape(lowering, a);
    op.u.matmul.transpose_b = transpose_b;
    op.u.matmul.scale = scale;
    shape.dim[shape.rank - 1] = right.dim[right.rank - (transpose_b ? 2 : 1)];
    return lowering_add(lowering, &op, &shape, out);
}

status emit_dense(struct lowering *lowering, int value, int kernel, int bias, int64_t width, int *out) {
    struct op op = op_make(OP_DENSE, &value, 1);
    struct shape shape = *lowering_shape(lowering, value);
    shape.dim[shape.rank - 1] = width;
    op.param[0] = kernel;
    op.param[1] = bias;
    return lowering_add(lowering, &op, &shape, out);
}

status emit_scale(struct lowering *lowering, int value, int gamma, int beta, int *out) {
    struct op op = op_make(OP_SCALE, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.param[0] = gamma;
    op.param[1] = beta;
    return lowering_add(lowering, &op, &shape, out);
}

status emit_softmax(struct lowering *lowering, int value, bool causal, int *out) {
    struct op op = op_make(OP_SOFTMAX, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    op.u.axis.axis = shape.rank - 1;
    op.u.axis.causal = causal;
    return lowering_add(lowering, &op, &shape, out);
}

status emit_dropout(struct lowering *lowering, int value, double rate, int *out) {
    struct op op = op_make(OP_DROPOUT, &value, 1);
    const struct shape shape = *lowering_shape(lowering, value);
    *out = value;
    if (!(rate > 0)) return SUCCESS;
    op.u.dropout.rate = (float)rate;
    return lowering_add(lowering, &op, &shape, out);
}

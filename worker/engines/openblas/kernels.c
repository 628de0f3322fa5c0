#include "worker/engines/openblas/kernels.h"

#include <stddef.h>

static const struct kernel *const KERNELS[] = {
    [OP_CONV] = &kernel_conv,
    [OP_DEPTHWISE] = &kernel_depthwise,
    [OP_CONV_TRANSPOSE] = &kernel_conv_transpose,
    [OP_DENSE] = &kernel_dense,
    [OP_BATCH_NORM] = &kernel_batch_norm,
    [OP_ACTIVATION] = &kernel_activation,
    [OP_SOFTMAX] = &kernel_softmax,
    [OP_BINARY] = &kernel_binary,
    [OP_CONCAT] = &kernel_concat,
    [OP_POOL] = &kernel_pool,
    [OP_RECURRENT] = &kernel_recurrent,
    [OP_REDUCE] = &kernel_reduce,
    [OP_PAD] = &kernel_pad,
    [OP_RESIZE] = &kernel_resize,
    [OP_AFFINE] = &kernel_affine,
    [OP_RESHAPE] = &kernel_reshape,
    [OP_DROPOUT] = &kernel_dropout,
    [OP_EMBEDDING] = &kernel_embedding,
    [OP_LAYER_NORM] = &kernel_layer_norm,
    [OP_MATMUL] = &kernel_matmul,
    [OP_PRELU] = &kernel_prelu,
    [OP_SCALE] = &kernel_scale,
    [OP_SLICE] = &kernel_slice,
    [OP_TRANSPOSE] = &kernel_transpose,
};

const struct kernel *kernel_of(enum op_kind kind) {
    size_t n = sizeof KERNELS / sizeof KERNELS[0];
    return (size_t)kind < n ? KERNELS[kind] : NULL;
}

status kernel_mismatch(const struct task *task, const char *what) {
    char in[SHAPE_TEXT_MAX], out[SHAPE_TEXT_MAX];
    return status_fail(STATUS_INTERNAL, "operation %s of node %d, %s to %s: %s", op_name(task->op->kind),
                       task->op->node, shape_format(&task->in[0], in), shape_format(&task->out, out), what);
}

#include "worker/engines/onednn/kinds.h"

#include <stddef.h>

static const struct step_kind *const KINDS[] = {
    [OP_CONV] = &step_conv,
    [OP_DEPTHWISE] = &step_conv,
    [OP_DENSE] = &step_dense,
    [OP_BATCH_NORM] = &step_batch_norm,
    [OP_ACTIVATION] = &step_activation,
    [OP_SOFTMAX] = &step_portable,
    [OP_BINARY] = &step_binary,
    [OP_CONCAT] = &step_concat,
    [OP_POOL] = &step_pool,
    [OP_REDUCE] = &step_reduce,
    [OP_PAD] = &step_portable,
    [OP_RESIZE] = &step_portable,
    [OP_AFFINE] = &step_portable,
    [OP_RESHAPE] = &step_alias,
    [OP_DROPOUT] = &step_portable,
    [OP_CONV_TRANSPOSE] = &step_portable,
    [OP_PRELU] = &step_portable,
    [OP_SCALE] = &step_portable,
    [OP_LAYER_NORM] = &step_portable,
    [OP_MATMUL] = &step_matmul,
    [OP_SLICE] = &step_portable,
    [OP_TRANSPOSE] = &step_portable,
    [OP_EMBEDDING] = &step_portable,
    [OP_RECURRENT] = &step_portable,
};

const struct step_kind *step_kind_of(enum op_kind kind) {
    size_t n = sizeof KINDS / sizeof KINDS[0];
    return (size_t)kind < n ? KINDS[kind] : NULL;
}

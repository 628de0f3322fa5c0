/* Zeros before and after, on any axes but the batch. */
#include "worker/engines/openblas/kernels.h"

#include <string.h>

static status pad_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    if (in->rank != out->rank || in->rank < 2) return kernel_mismatch(task, "ranks disagree");
    const int *before = task->op->u.pad.before, *after = task->op->u.pad.after;
    for (int i = 0; i < in->rank; i++) {
        if (before[i] < 0 || after[i] < 0 || (i == 0 && (before[i] || after[i])))
            return kernel_mismatch(task, "the padding is negative or on the batch");
        if (out->dim[i] != in->dim[i] + before[i] + after[i])
            return kernel_mismatch(task, "the output's shape disagrees with the padding");
    }
    return SUCCESS;
}

/* Copies between the rows (last axis) of the input and their places in the output of one sample. */
static void copy_rows(const struct task *task, int64_t sample, float *padded, float *plain,
                      bool into_padded) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int rank = in->rank, *before = task->op->u.pad.before;
    const int64_t n = last_dim(in), rows = count_of(in) / in->dim[0] / n;
    for (int64_t row = 0; row < rows; row++) {
        int64_t rest = row, at = before[rank - 1], stride = last_dim(out);
        for (int axis = rank - 2; axis > 0; axis--) {
            at += (rest % in->dim[axis] + before[axis]) * stride;
            rest /= in->dim[axis];
            stride *= out->dim[axis];
        }
        float *a = padded + sample * stride + at, *b = plain + (sample * rows + row) * n;
        memcpy(into_padded ? a : b, into_padded ? b : a, (size_t)n * sizeof *a);
    }
}

static status pad_forward(struct task *task) {
    const int64_t n = count_of(&task->out) / task->out.dim[0];
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < task->out.dim[0]; sample++) {
        memset(task->y + sample * n, 0, (size_t)n * sizeof(float));
        copy_rows(task, sample, task->y, task->x[0], true);
    }
    return SUCCESS;
}

static status pad_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < task->out.dim[0]; sample++)
        copy_rows(task, sample, (float *)task->dy, task->dx[0], false);
    return SUCCESS;
}

const struct kernel kernel_pad = {pad_prepare, pad_forward, pad_backward};

/* Concatenation along one axis, not the batch. */
#include "worker/engines/openblas/kernels.h"

#include <string.h>

static int64_t product(const struct shape *shape, int first, int last) {
    int64_t n = 1;
    for (int i = first; i < last; i++) n *= shape->dim[i];
    return n;
}

static status concat_prepare(struct task *task) {
    const int axis = task->op->u.axis.axis;
    const struct shape *out = &task->out;
    if (axis < 1 || axis >= out->rank) return kernel_mismatch(task, "the axis is out of range");
    int64_t sum = 0;
    for (int i = 0; i < task->op->nin; i++) {
        struct shape in = task->in[i];
        if (in.rank != out->rank) return kernel_mismatch(task, "ranks differ");
        sum += in.dim[axis];
        in.dim[axis] = out->dim[axis];
        if (!shape_equal(&in, out)) return kernel_mismatch(task, "the other axes differ");
    }
    if (sum != out->dim[axis]) return kernel_mismatch(task, "the axis is not as long as the inputs together");
    return SUCCESS;
}

static status concat_forward(struct task *task) {
    const int axis = task->op->u.axis.axis, rank = task->out.rank;
    const int64_t outer = product(&task->out, 0, axis), width = product(&task->out, axis, rank);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (outer * width > 16384)
    for (int64_t i = 0; i < outer; i++) {
        float *y = task->y + i * width;
        for (int j = 0; j < task->op->nin; j++) {
            int64_t n = product(&task->in[j], axis, rank);
            memcpy(y, task->x[j] + i * n, (size_t)n * sizeof *y);
            y += n;
        }
    }
    return SUCCESS;
}

static status concat_backward(struct task *task) {
    const int axis = task->op->u.axis.axis, rank = task->out.rank;
    const int64_t outer = product(&task->out, 0, axis), width = product(&task->out, axis, rank);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (outer * width > 16384)
    for (int64_t i = 0; i < outer; i++) {
        const float *dy = task->dy + i * width;
        for (int j = 0; j < task->op->nin; j++) {
            int64_t n = product(&task->in[j], axis, rank);
            if (task->dx[j]) memcpy(task->dx[j] + i * n, dy, (size_t)n * sizeof *dy);
            dy += n;
        }
    }
    return SUCCESS;
}

const struct kernel kernel_concat = {concat_prepare, concat_forward, concat_backward};

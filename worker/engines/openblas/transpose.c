/* Axes in another order, the batch first. */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/openblas/view.h"

#include <stdlib.h>

static status transpose_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int *axis = task->op->u.transpose.axis;
    if (in->rank != out->rank) return kernel_mismatch(task, "ranks differ");
    if (axis[0] != 0) return kernel_mismatch(task, "the batch does not stay first");
    unsigned seen = 0;
    for (int i = 0; i < in->rank; i++) {
        if (axis[i] < 0 || axis[i] >= in->rank || (seen >> axis[i] & 1))
            return kernel_mismatch(task, "the axes are no permutation");
        seen |= 1U << axis[i];
        if (out->dim[i] != in->dim[axis[i]])
            return kernel_mismatch(task, "the output's shape disagrees with the axes");
    }
    struct view *view = calloc(1, sizeof *view);
    if (!view) return status_no_memory("a transposition", sizeof *view);
    task->plan = view;
    int64_t stride[SHAPE_MAX_RANK], step = 1;
    for (int i = in->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= in->dim[i];
    }
    view->rank = out->rank;
    for (int i = 0; i < out->rank; i++) {
        view->dim[i] = out->dim[i];
        view->stride[i] = stride[axis[i]];
    }
    view_simplify(view);
    task->alias = view->rank == 1; /* the elements stay where they are */
    return SUCCESS;
}

static status transpose_forward(struct task *task) {
    view_gather(task->plan, task->x[0], task->y, task->env->threads);
    return SUCCESS;
}

static status transpose_backward(struct task *task) {
    if (task->dx[0]) view_scatter(task->plan, task->dy, task->dx[0], task->env->threads);
    return SUCCESS;
}

const struct kernel kernel_transpose = {transpose_prepare, transpose_forward, transpose_backward};

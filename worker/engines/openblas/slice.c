/* Parts of axes, with a step; the batch is whole. */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/openblas/view.h"

#include <stdlib.h>
#include <string.h>

static status slice_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int *start = task->op->u.slice.start, *step = task->op->u.slice.step;
    if (in->rank != out->rank) return kernel_mismatch(task, "ranks differ");
    if (start[0] != 0 || step[0] != 1 || in->dim[0] != out->dim[0])
        return kernel_mismatch(task, "the batch cannot be sliced");
    struct view *view = calloc(1, sizeof *view);
    if (!view) return status_no_memory("a slice", sizeof *view);
    task->plan = view;
    view->rank = out->rank;
    int64_t stride = 1;
    for (int i = in->rank - 1; i >= 0; i--) {
        int64_t last = start[i] + (out->dim[i] - 1) * step[i];
        if (start[i] < 0 || start[i] >= in->dim[i] || last < 0 || last >= in->dim[i] || step[i] == 0)
            return kernel_mismatch(task, "the slice leaves its input");
        view->dim[i] = out->dim[i];
        view->stride[i] = step[i] * stride;
        view->base += start[i] * stride;
        stride *= in->dim[i];
    }
    view_simplify(view);
    task->alias = count_of(in) == count_of(out) && view->rank == 1 && view->stride[0] == 1;
    return SUCCESS;
}

static status slice_forward(struct task *task) {
    view_gather(task->plan, task->x[0], task->y, task->env->threads);
    return SUCCESS;
}

static status slice_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const int64_t n = count_of(&task->in[0]);
    if (n != count_of(&task->out)) memset(task->dx[0], 0, (size_t)n * sizeof(float));
    view_scatter(task->plan, task->dy, task->dx[0], task->env->threads);
    return SUCCESS;
}

const struct kernel kernel_slice = {slice_prepare, slice_forward, slice_backward};

/* x*scale + offset with constants: one pair, or one per channel. */
#include "worker/engines/openblas/kernels.h"

static status affine_prepare(struct task *task) {
    const int n = task->op->u.affine.n;
    if (!shape_equal(&task->in[0], &task->out)) return kernel_mismatch(task, "shapes differ");
    if (n != 1 && n != last_dim(&task->out))
        return kernel_mismatch(task, "neither one constant nor one per channel");
    return SUCCESS;
}

static status affine_forward(struct task *task) {
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
    const float *scale = task->op->u.affine.scale, *offset = task->op->u.affine.offset;
    const bool one = task->op->u.affine.n == 1;
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (rows * c > 16384)
    for (int64_t i = 0; i < rows; i++) {
        const float *restrict x = task->x[0] + i * c;
        float *restrict y = task->y + i * c;
        if (one)
            for (int64_t j = 0; j < c; j++) y[j] = x[j] * scale[0] + offset[0];
        else
            for (int64_t j = 0; j < c; j++) y[j] = x[j] * scale[j] + offset[j];
    }
    return SUCCESS;
}

static status affine_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
    const float *scale = task->op->u.affine.scale;
    const bool one = task->op->u.affine.n == 1;
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (rows * c > 16384)
    for (int64_t i = 0; i < rows; i++) {
        const float *restrict dy = task->dy + i * c;
        float *restrict dx = task->dx[0] + i * c;
        for (int64_t j = 0; j < c; j++) dx[j] = dy[j] * scale[one ? 0 : j];
    }
    return SUCCESS;
}

const struct kernel kernel_affine = {affine_prepare, affine_forward, affine_backward};

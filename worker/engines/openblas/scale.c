/* x * gamma + beta, one value of each per channel (last axis). */
#include "worker/engines/openblas/kernels.h"

#include <string.h>

enum { GAMMA, BETA };

static status scale_prepare(struct task *task) {
    const int64_t c = last_dim(&task->out);
    if (!shape_equal(&task->in[0], &task->out)) return kernel_mismatch(task, "shapes differ");
    for (int i = 0; i < 2; i++)
        if (has_param(task, i) && count_of(&task->param[i]) != c)
            return kernel_mismatch(task, "a parameter does not have one value per channel");
    task->alias = !has_param(task, GAMMA) && !has_param(task, BETA);
    if (task->env->train) task->scratch_backward = 2 * (size_t)(c * task->env->threads) * sizeof(double);
    return SUCCESS;
}

static void scale_row(const float *restrict x, const float *restrict gamma, const float *restrict beta,
                      int64_t n, float *restrict y) {
    if (gamma && beta)
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * gamma[i] + beta[i];
    else if (gamma)
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * gamma[i];
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i] + beta[i];
}

static status scale_forward(struct task *task) {
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (rows * c > 16384)
    for (int64_t i = 0; i < rows; i++)
        scale_row(task->x[0] + i * c, task->w[GAMMA], task->w[BETA], c, task->y + i * c);
    return SUCCESS;
}

/* Rows first..last-1: dx, and the sums of dy*x and of dy. */
static void backward_rows(const struct task *task, int64_t first, int64_t last, double *restrict dgamma,
                          double *restrict dbeta) {
    const int64_t c = last_dim(&task->out);
    const float *restrict gamma = task->w[GAMMA];
    for (int64_t i = first; i < last; i++) {
        const float *restrict x = task->x[0] + i * c, *restrict dy = task->dy + i * c;
        float *restrict dx = task->dx[0] ? task->dx[0] + i * c : NULL;
        if (task->dw[GAMMA])
            for (int64_t j = 0; j < c; j++) dgamma[j] += (double)dy[j] * x[j];
        if (task->dw[BETA])
            for (int64_t j = 0; j < c; j++) dbeta[j] += dy[j];
        if (dx && gamma)
            for (int64_t j = 0; j < c; j++) dx[j] = dy[j] * gamma[j];
        else if (dx) memcpy(dx, dy, (size_t)c * sizeof *dx);
    }
}

static status scale_backward(struct task *task) {
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
    const int slots = task->env->threads;
    double *parts = task->scratch;
    memset(parts, 0, 2 * (size_t)(c * slots) * sizeof *parts);
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (rows * c > 16384)
    for (int slot = 0; slot < slots; slot++) {
        int64_t first, last;
        slot_range(rows, slots, slot, &first, &last);
        backward_rows(task, first, last, parts + 2 * c * slot, parts + 2 * c * slot + c);
    }
    for (int k = 0; k < 2; k++) {
        if (!task->dw[k]) continue;
        for (int64_t j = 0; j < c; j++) {
            double sum = 0;
            for (int slot = 0; slot < slots; slot++) sum += parts[2 * c * slot + k * c + j];
            task->dw[k][j] = (float)sum;
        }
    }
    return SUCCESS;
}

const struct kernel kernel_scale = {scale_prepare, scale_forward, scale_backward};

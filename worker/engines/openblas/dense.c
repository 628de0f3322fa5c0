/* Matrix product on the last axis. */
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/panels.h"

#include <limits.h>

#define BIAS_COLUMNS 256 /* summed at a time */

static status dense_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out, *kernel = &task->param[0];
    if (in->rank < 1 || in->rank != out->rank || kernel->rank != 2)
        return kernel_mismatch(task, "ranks disagree");
    for (int i = 0; i + 1 < in->rank; i++)
        if (in->dim[i] != out->dim[i]) return kernel_mismatch(task, "only the last axis may differ");
    if (kernel->dim[0] != last_dim(in) || kernel->dim[1] != last_dim(out))
        return kernel_mismatch(task, "the kernel's shape disagrees");
    if (has_param(task, 1) && count_of(&task->param[1]) != last_dim(out))
        return kernel_mismatch(task, "the bias's shape disagrees");
    if (kernel->dim[0] > INT_MAX || kernel->dim[1] > INT_MAX || count_of(in) / last_dim(in) > INT_MAX)
        return kernel_mismatch(task, "too large for BLAS");
    task->scratch_forward = panels_scratch(last_dim(out), last_dim(in), task->env->threads) * sizeof(float);
    return SUCCESS;
}

static status dense_forward(struct task *task) {
    const int64_t k = last_dim(&task->in[0]), m = last_dim(&task->out), rows = count_of(&task->out) / m;
    panels_rows(rows, m, k, task->x[0], task->w[0], task->w[1], task->env->threads, task->scratch, task->y);
    return SUCCESS;
}

static void backward_bias(const float *dy, int64_t rows, int64_t m, float *db) {
    for (int64_t first = 0; first < m; first += BIAS_COLUMNS) {
        double sum[BIAS_COLUMNS] = {0};
        int64_t n = m - first < BIAS_COLUMNS ? m - first : BIAS_COLUMNS;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) sum[j] += dy[i * m + first + j];
        for (int64_t j = 0; j < n; j++) db[first + j] = (float)sum[j];
    }
}

static status dense_backward(struct task *task) {
    const int slots = task->env->threads;
    const int64_t k = last_dim(&task->in[0]), m = last_dim(&task->out), rows = count_of(&task->out) / m;
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        int64_t begin, end;
        if (task->dw[0]) {
            slot_range(k, slots, slot, &begin, &end);
            if (begin < end)
                gemm(true, false, (int)(end - begin), (int)m, (int)rows, task->x[0] + begin, (int)k, task->dy,
                     (int)m, 0, task->dw[0] + begin * m, (int)m);
        }
        if (task->dx[0]) {
            slot_range(rows, slots, slot, &begin, &end);
            if (begin < end)
                gemm(false, true, (int)(end - begin), (int)k, (int)m, task->dy + begin * m, (int)m,
                     task->w[0], (int)m, 0, task->dx[0] + begin * k, (int)k);
        }
    }
    if (task->dw[1]) backward_bias(task->dy, rows, m, task->dw[1]);
    return SUCCESS;
}

const struct kernel kernel_dense = {dense_prepare, dense_forward, dense_backward};

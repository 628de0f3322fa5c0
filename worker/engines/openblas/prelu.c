/* x where it is positive, else alpha*x; alpha is broadcast over a sample (He et al. 2015). */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/openblas/strided.h"

#include <stdlib.h>
#include <string.h>

/* Index space: the output. Arrays: the output 0, alpha 1. */
static status prelu_prepare(struct task *task) {
    if (!shape_equal(&task->in[0], &task->out)) return kernel_mismatch(task, "shapes differ");
    if (!has_param(task, 0) || task->param[0].rank != task->out.rank - 1)
        return kernel_mismatch(task, "alpha does not have a sample's rank");
    struct strided *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("an activation", sizeof *s);
    task->plan = s;
    const struct shape *arrays[2] = {&task->out, &task->param[0]};
    if (!strided_make(&task->out, arrays, 2, s))
        return kernel_mismatch(task, "alpha cannot be broadcast to a sample");
    if (task->env->train)
        task->scratch_backward = (size_t)(count_of(&task->param[0]) * task->env->threads) * sizeof(double);
    return SUCCESS;
}

static void prelu_row(const float *restrict x, const float *restrict alpha, int64_t step, int64_t n,
                      float *restrict y) {
    if (step)
        for (int64_t i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : alpha[i] * x[i];
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : alpha[0] * x[i];
}

static status prelu_forward(struct task *task) {
    const struct strided *s = task->plan;
    const int inner = s->rank - 1;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < s->dim[0]; sample++) {
        struct strided_at at = strided_begin(s, sample);
        do
            prelu_row(task->x[0] + at.offset[0], task->w[0] + at.offset[1], s->stride[1][inner],
                      s->dim[inner], task->y + at.offset[0]);
        while (strided_next(s, &at));
    }
    return SUCCESS;
}

static void backward_sample(const struct task *task, int64_t sample, double *sums) {
    const struct strided *s = task->plan;
    const int inner = s->rank - 1;
    const int64_t n = s->dim[inner], step = s->stride[1][inner];
    struct strided_at at = strided_begin(s, sample);
    do {
        const float *restrict x = task->x[0] + at.offset[0], *restrict dy = task->dy + at.offset[0];
        const float *restrict alpha = task->w[0] + at.offset[1];
        double *restrict sum = sums + at.offset[1];
        if (task->dw[0] && step)
            for (int64_t i = 0; i < n; i++) sum[i] += x[i] > 0 ? 0 : (double)dy[i] * x[i];
        else if (task->dw[0])
            for (int64_t i = 0; i < n; i++) sum[0] += x[i] > 0 ? 0 : (double)dy[i] * x[i];
        if (!task->dx[0]) continue;
        float *restrict dx = task->dx[0] + at.offset[0];
        for (int64_t i = 0; i < n; i++) dx[i] = x[i] > 0 ? dy[i] : alpha[i * step] * dy[i];
    } while (strided_next(s, &at));
}

static status prelu_backward(struct task *task) {
    const struct strided *s = task->plan;
    const int slots = task->env->threads;
    const int64_t nalpha = count_of(&task->param[0]);
    double *parts = task->scratch;
    memset(parts, 0, (size_t)(nalpha * slots) * sizeof *parts);
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        int64_t first, last;
        slot_range(s->dim[0], slots, slot, &first, &last);
        for (int64_t sample = first; sample < last; sample++)
            backward_sample(task, sample, parts + nalpha * slot);
    }
    for (int64_t i = 0; task->dw[0] && i < nalpha; i++) {
        double sum = 0;
        for (int slot = 0; slot < slots; slot++) sum += parts[nalpha * slot + i];
        task->dw[0][i] = (float)sum;
    }
    return SUCCESS;
}

const struct kernel kernel_prelu = {prelu_prepare, prelu_forward, prelu_backward};

/* Mean, sum or maximum over whole axes, not the batch. */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/openblas/strided.h"

#include <math.h>
#include <stdlib.h>

/* Index space: the input. Arrays: the input 0, the output 1. */
struct reduce_plan {
    struct strided strided;
    int64_t outputs; /* of one sample */
    double factor;   /* 1 / elements that make one output */
};

static status reduce_prepare(struct task *task) {
    const struct shape *in = &task->in[0];
    struct reduce_plan *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a reduction", sizeof *p);
    task->plan = p;
    const unsigned axes = task->op->u.reduce.axes;
    if (axes & 1) return kernel_mismatch(task, "the batch cannot be reduced");
    struct shape kept = *in;
    for (int i = 0; i < in->rank; i++)
        if (axes >> i & 1) kept.dim[i] = 1;
    const struct shape *arrays[2] = {in, &kept};
    if (count_of(&kept) != count_of(&task->out) || !strided_make(in, arrays, 2, &p->strided))
        return kernel_mismatch(task, "the output's shape disagrees with the axes");
    p->outputs = count_of(&kept) / in->dim[0];
    p->factor = task->op->u.reduce.kind == REDUCE_SUM ? 1 : (double)count_of(&kept) / (double)count_of(in);
    /* Mean and sum: sums in double. Maximum: in training, which input it was, counted within the sample. */
    if (task->op->u.reduce.kind != REDUCE_MAX)
        task->scratch_forward = (size_t)count_of(&kept) * sizeof(double);
    else if (task->env->train) task->saved = (size_t)count_of(&kept) * sizeof(int64_t);
    return SUCCESS;
}

static double row_sum(const float *x, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    return sum;
}

static void sum_sample(const struct task *task, int64_t sample) {
    const struct reduce_plan *p = task->plan;
    const struct strided *s = &p->strided;
    const int64_t n = s->dim[s->rank - 1], step = s->stride[1][s->rank - 1];
    double *sums = (double *)task->scratch;
    float *y = task->y + sample * p->outputs;
    for (int64_t i = 0; i < p->outputs; i++) sums[sample * p->outputs + i] = 0;
    struct strided_at at = strided_begin(s, sample);
    do {
        const float *x = task->x[0] + at.offset[0];
        double *sum = sums + at.offset[1];
        if (step)
            for (int64_t i = 0; i < n; i++) sum[i] += x[i];
        else *sum += row_sum(x, n);
    } while (strided_next(s, &at));
    for (int64_t i = 0; i < p->outputs; i++) y[i] = (float)(sums[sample * p->outputs + i] * p->factor);
}

static void max_sample(const struct task *task, int64_t sample) {
    const struct reduce_plan *p = task->plan;
    const struct strided *s = &p->strided;
    const int64_t n = s->dim[s->rank - 1], step = s->stride[1][s->rank - 1];
    int64_t *which = task->env->train ? task->kept : NULL;
    for (int64_t i = 0; i < p->outputs; i++) task->y[sample * p->outputs + i] = -INFINITY;
    if (which)
        for (int64_t i = 0; i < p->outputs; i++) which[sample * p->outputs + i] = sample * s->stride[0][0];
    struct strided_at at = strided_begin(s, sample);
    do {
        const float *x = task->x[0] + at.offset[0];
        float *y = task->y + at.offset[1];
        for (int64_t i = 0; i < n; i++) {
            if (!(x[i] > y[i * step] || x[i] != x[i])) continue;
            y[i * step] = x[i];
            if (which) which[at.offset[1] + i * step] = at.offset[0] + i;
        }
    } while (strided_next(s, &at));
}

static status reduce_forward(struct task *task) {
    const bool max = task->op->u.reduce.kind == REDUCE_MAX;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < task->env->batch; sample++) {
        if (max) max_sample(task, sample);
        else sum_sample(task, sample);
    }
    return SUCCESS;
}

static void sum_backward(const struct task *task, int64_t sample) {
    const struct reduce_plan *p = task->plan;
    const struct strided *s = &p->strided;
    const int64_t n = s->dim[s->rank - 1], step = s->stride[1][s->rank - 1];
    const float factor = (float)p->factor;
    struct strided_at at = strided_begin(s, sample);
    do {
        float *dx = task->dx[0] + at.offset[0];
        const float *dy = task->dy + at.offset[1];
        for (int64_t i = 0; i < n; i++) dx[i] = dy[i * step] * factor;
    } while (strided_next(s, &at));
}

static void max_backward(const struct task *task, int64_t sample) {
    const struct reduce_plan *p = task->plan;
    const int64_t inputs = count_of(&task->in[0]) / task->env->batch, *which = task->kept;
    for (int64_t i = 0; i < inputs; i++) task->dx[0][sample * inputs + i] = 0;
    for (int64_t i = sample * p->outputs; i < (sample + 1) * p->outputs; i++)
        task->dx[0][which[i]] += task->dy[i];
}

static status reduce_backward(struct task *task) {
    const bool max = task->op->u.reduce.kind == REDUCE_MAX;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < task->env->batch; sample++) {
        if (max) max_backward(task, sample);
        else sum_backward(task, sample);
    }
    return SUCCESS;
}

const struct kernel kernel_reduce = {reduce_prepare, reduce_forward, reduce_backward};

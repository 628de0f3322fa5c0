/* Two inputs, element by element, with numpy's broadcasting. */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/openblas/strided.h"

#include <stdlib.h>
#include <string.h>

/* Index space: the output. Arrays: the inputs 0 and 1, the output 2. */
struct binary_plan {
    struct strided strided;
    int64_t count[2]; /* elements of an input */
    bool over_batch;  /* an input has no batch of its own: samples cannot be summed apart */
};

static status binary_prepare(struct task *task) {
    struct binary_plan *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("an operation", sizeof *p);
    task->plan = p;
    const struct shape *arrays[3] = {&task->in[0], &task->in[1], &task->out};
    if (!strided_make(&task->out, arrays, 3, &p->strided))
        return kernel_mismatch(task, "the inputs cannot be broadcast to the output");
    for (int i = 0; i < 2; i++) {
        p->count[i] = count_of(&task->in[i]);
        if (p->strided.stride[i][0] == 0 && p->strided.dim[0] > 1) p->over_batch = true;
    }
    if (task->env->train) task->scratch_backward = (size_t)(p->count[0] + p->count[1]) * sizeof(double);
    return SUCCESS;
}

static inline float apply(enum binary kind, float a, float b) {
    switch (kind) {
    case BINARY_ADD:
        return a + b;
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    case BINARY_DIV:
        return a / b;
    case BINARY_MAX:
        return a > b || a != a ? a : b;
    case BINARY_MIN:
        return a < b || a != a ? a : b;
    }
    return 0;
}

/* One row of n elements; sa, sb: 1, or 0 where broadcast. */
static inline void apply_row(enum binary kind, const float *a, int64_t sa, const float *b, int64_t sb,
                             int64_t n, float *restrict y) {
    if (sa && sb)
        for (int64_t i = 0; i < n; i++) y[i] = apply(kind, a[i], b[i]);
    else
        for (int64_t i = 0; i < n; i++) y[i] = apply(kind, a[i * sa], b[i * sb]);
}

static void forward_row(enum binary kind, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n,
                        float *y) {
    switch (kind) {
    case BINARY_ADD:
        apply_row(BINARY_ADD, a, sa, b, sb, n, y);
        break;
    case BINARY_SUB:
        apply_row(BINARY_SUB, a, sa, b, sb, n, y);
        break;
    case BINARY_MUL:
        apply_row(BINARY_MUL, a, sa, b, sb, n, y);
        break;
    case BINARY_DIV:
        apply_row(BINARY_DIV, a, sa, b, sb, n, y);
        break;
    case BINARY_MAX:
        apply_row(BINARY_MAX, a, sa, b, sb, n, y);
        break;
    case BINARY_MIN:
        apply_row(BINARY_MIN, a, sa, b, sb, n, y);
        break;
    }
}

static status binary_forward(struct task *task) {
    const struct binary_plan *p = task->plan;
    const struct strided *s = &p->strided;
    const int inner = s->rank - 1;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < s->dim[0]; sample++) {
        struct strided_at at = strided_begin(s, sample);
        do
            forward_row(task->op->u.binary.kind, task->x[0] + at.offset[0], s->stride[0][inner],
                        task->x[1] + at.offset[1], s->stride[1][inner], s->dim[inner],
                        task->y + at.offset[2]);
        while (strided_next(s, &at));
    }
    return SUCCESS;
}

/* Derivative of the output by input `which`; where both are the maximum or minimum, each gets half. */
static inline float slope(enum binary kind, int which, float a, float b) {
    switch (kind) {
    case BINARY_ADD:
        return 1;
    case BINARY_SUB:
        return which ? -1 : 1;
    case BINARY_MUL:
        return which ? a : b;
    case BINARY_DIV:
        return which ? -a / (b * b) : 1 / b;
    case BINARY_MAX:
        return a == b ? 0.5f : (a > b) == (which == 0);
    case BINARY_MIN:
        return a == b ? 0.5f : (a < b) == (which == 0);
    }
    return 0;
}

/* Gradient of input `which` for samples first..last-1. Not broadcast: written at once; broadcast: summed in
 * double. */
static void backward_samples(const struct task *task, int which, int64_t first, int64_t last, double *sums) {
    const struct binary_plan *p = task->plan;
    const struct strided *s = &p->strided;
    const enum binary kind = task->op->u.binary.kind;
    const int inner = s->rank - 1;
    const int64_t n = s->dim[inner], sa = s->stride[0][inner], sb = s->stride[1][inner];
    const bool whole = p->count[which] == count_of(&task->out);
    for (int64_t sample = first; sample < last; sample++) {
        struct strided_at at = strided_begin(s, sample);
        do {
            const float *a = task->x[0] + at.offset[0], *b = task->x[1] + at.offset[1];
            const float *dy = task->dy + at.offset[2];
            float *dx = task->dx[which] + at.offset[which];
            double *sum = sums + at.offset[which];
            if (whole)
                for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * slope(kind, which, a[i * sa], b[i * sb]);
            else
                for (int64_t i = 0; i < n; i++)
                    sum[i * s->stride[which][inner]] += dy[i] * slope(kind, which, a[i * sa], b[i * sb]);
        } while (strided_next(s, &at));
    }
}

static status binary_backward(struct task *task) {
    const struct binary_plan *p = task->plan;
    const int slots = p->over_batch ? 1 : task->env->threads;
    for (int which = 0; which < 2; which++) {
        if (!task->dx[which]) continue;
        double *sums = (double *)task->scratch + (which ? p->count[0] : 0);
        const bool whole = p->count[which] == count_of(&task->out);
        if (!whole) memset(sums, 0, (size_t)p->count[which] * sizeof *sums);
#pragma omp parallel for num_threads(slots) schedule(static, 1)
        for (int slot = 0; slot < slots; slot++) {
            int64_t first, last;
            slot_range(p->strided.dim[0], slots, slot, &first, &last);
            backward_samples(task, which, first, last, sums);
        }
        if (!whole)
            for (int64_t i = 0; i < p->count[which]; i++) task->dx[which][i] = (float)sums[i];
    }
    return SUCCESS;
}

const struct kernel kernel_binary = {binary_prepare, binary_forward, binary_backward};

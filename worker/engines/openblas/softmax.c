/* Softmax over one axis; causal: over its first elements only, one more each row. */
#include "worker/engines/openblas/kernels.h"

#include <math.h>

/* The tensor as (outer, n, inner): softmax over n. */
struct softmax_view {
    int64_t outer, n, inner;
};

static struct softmax_view view_of(const struct task *task) {
    const struct shape *shape = &task->out;
    struct softmax_view v = {1, shape->dim[task->op->u.axis.axis], 1};
    for (int i = 0; i < shape->rank; i++) {
        if (i < task->op->u.axis.axis) v.outer *= shape->dim[i];
        if (i > task->op->u.axis.axis) v.inner *= shape->dim[i];
    }
    return v;
}

static status softmax_prepare(struct task *task) {
    if (!shape_equal(&task->in[0], &task->out)) return kernel_mismatch(task, "shapes differ");
    if (task->op->u.axis.axis < 1 || task->op->u.axis.axis >= task->out.rank)
        return kernel_mismatch(task, "the axis is out of range");
    if (task->op->u.axis.causal && (task->out.rank < 3 || task->op->u.axis.axis != task->out.rank - 1))
        return kernel_mismatch(task, "causal is for the last axis of three or more");
    return SUCCESS;
}

/* How many elements of line `outer` are seen: all, or causal, as many as rows up to its own. The others have
 * no weight. */
static int64_t seen(const struct task *task, const struct softmax_view *v, int64_t outer) {
    if (!task->op->u.axis.causal) return v->n;
    const int64_t row = outer % task->out.dim[task->out.rank - 2];
    return row + 1 < v->n ? row + 1 : v->n;
}

static void zero(int64_t first, int64_t last, int64_t step, float *y) {
    for (int64_t i = first; i < last; i++) y[i * step] = 0;
}

static void softmax_line(const float *x, int64_t n, int64_t step, float *y) {
    float max = x[0];
    for (int64_t i = 1; i < n; i++) max = x[i * step] > max ? x[i * step] : max;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        y[i * step] = expf(x[i * step] - max);
        sum += y[i * step];
    }
    float inverse = (float)(1 / sum);
    for (int64_t i = 0; i < n; i++) y[i * step] *= inverse;
}

/* dx = y * (dy - sum(y * dy)) */
static void softmax_line_backward(const float *y, const float *dy, int64_t n, int64_t step, float *dx) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)y[i * step] * dy[i * step];
    for (int64_t i = 0; i < n; i++) dx[i * step] = y[i * step] * (dy[i * step] - (float)sum);
}

static status softmax_forward(struct task *task) {
    const struct softmax_view v = view_of(task);
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t i = 0; i < v.outer; i++)
        for (int64_t j = 0; j < v.inner; j++) {
            int64_t at = i * v.n * v.inner + j;
            const int64_t n = seen(task, &v, i);
            softmax_line(task->x[0] + at, n, v.inner, task->y + at);
            zero(n, v.n, v.inner, task->y + at);
        }
    return SUCCESS;
}

static status softmax_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const struct softmax_view v = view_of(task);
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t i = 0; i < v.outer; i++)
        for (int64_t j = 0; j < v.inner; j++) {
            int64_t at = i * v.n * v.inner + j;
            const int64_t n = seen(task, &v, i);
            softmax_line_backward(task->y + at, task->dy + at, n, v.inner, task->dx[0] + at);
            zero(n, v.n, v.inner, task->dx[0] + at);
        }
    return SUCCESS;
}

const struct kernel kernel_softmax = {softmax_prepare, softmax_forward, softmax_backward};

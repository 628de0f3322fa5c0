/* Softmax over one axis; causal: over its first elements only, one more each row. */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/vector_math.h"

#define COLUMNS 64 /* computed together */

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

static void softmax_row(const float *restrict x, int64_t n, float *restrict y) {
    float max = x[0];
    double sum = 0;
#pragma omp simd reduction(max : max)
    for (int64_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        y[i] = exp_f32(x[i] - max);
        sum += (double)y[i];
    }
    const float inverse = (float)(1 / sum);
    for (int64_t i = 0; i < n; i++) y[i] *= inverse;
}

/* dx = y * (dy - sum(y * dy)) */
static void softmax_row_backward(const float *restrict y, const float *restrict dy, int64_t n,
                                 float *restrict dx) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)y[i] * (double)dy[i];
    const float mean = (float)sum;
    for (int64_t i = 0; i < n; i++) dx[i] = y[i] * (dy[i] - mean);
}

/* The same of `width` neighbouring columns of n elements, `step` apart. */
static void softmax_columns(const float *restrict x, int64_t n, int64_t step, int64_t width,
                            float *restrict y) {
    float max[COLUMNS], inverse[COLUMNS];
    double sum[COLUMNS] = {0};
    for (int64_t j = 0; j < width; j++) max[j] = x[j];
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = 0; j < width; j++) max[j] = x[i * step + j] > max[j] ? x[i * step + j] : max[j];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) {
            y[i * step + j] = exp_f32(x[i * step + j] - max[j]);
            sum[j] += (double)y[i * step + j];
        }
    for (int64_t j = 0; j < width; j++) inverse[j] = (float)(1 / sum[j]);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) y[i * step + j] *= inverse[j];
}

static void softmax_columns_backward(const float *restrict y, const float *restrict dy, int64_t n,
                                     int64_t step, int64_t width, float *restrict dx) {
    double sum[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) sum[j] += (double)y[i * step + j] * (double)dy[i * step + j];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++)
            dx[i * step + j] = y[i * step + j] * (dy[i * step + j] - (float)sum[j]);
}

static int64_t columns_of(const struct softmax_view *v, int64_t first) {
    return v->inner - first < COLUMNS ? v->inner - first : COLUMNS;
}

static status softmax_forward(struct task *task) {
    const struct softmax_view v = view_of(task);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (v.outer * v.n * v.inner > 4096)
    for (int64_t i = 0; i < v.outer; i++) {
        const float *x = task->x[0] + i * v.n * v.inner;
        float *y = task->y + i * v.n * v.inner;
        if (v.inner == 1) {
            const int64_t n = seen(task, &v, i);
            softmax_row(x, n, y);
            memset(y + n, 0, (size_t)(v.n - n) * sizeof *y);
            continue;
        }
        for (int64_t j = 0; j < v.inner; j += COLUMNS)
            softmax_columns(x + j, v.n, v.inner, columns_of(&v, j), y + j);
    }
    return SUCCESS;
}

static status softmax_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const struct softmax_view v = view_of(task);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (v.outer * v.n * v.inner > 4096)
    for (int64_t i = 0; i < v.outer; i++) {
        const float *y = task->y + i * v.n * v.inner, *dy = task->dy + i * v.n * v.inner;
        float *dx = task->dx[0] + i * v.n * v.inner;
        if (v.inner == 1) {
            const int64_t n = seen(task, &v, i);
            softmax_row_backward(y, dy, n, dx);
            memset(dx + n, 0, (size_t)(v.n - n) * sizeof *dx);
            continue;
        }
        for (int64_t j = 0; j < v.inner; j += COLUMNS)
            softmax_columns_backward(y + j, dy + j, v.n, v.inner, columns_of(&v, j), dx + j);
    }
    return SUCCESS;
}

const struct kernel kernel_softmax = {softmax_prepare, softmax_forward, softmax_backward};

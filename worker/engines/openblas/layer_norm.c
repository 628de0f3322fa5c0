/* Layer normalization (Ba, Kiros, Hinton 2016) over any axes but the batch, the others each on their own. */
#include "worker/engines/openblas/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAMMA, BETA };

/* Elements that are normalized together, a group, lie in `runs` runs of `run` neighbours. */
struct layer_norm_plan {
    int rank; /* axes that are not normalized */
    int64_t dim[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK];
    int64_t groups;
    int64_t runs, run, size; /* size: runs * run, elements of a group */
    int64_t at[];            /* [runs] where a run begins, from the group's first element */
};

/* What a group is normalized with. The mean is high + low, so that little is lost where it is far from zero.
 */
struct moments {
    float high, low, inverse;
};

/* Begins of runs: all places along the normalized axes but the last `tail` ones, which are one run. */
static void find_runs(const struct shape *in, unsigned axes, int tail, struct layer_norm_plan *p) {
    p->at[0] = 0;
    int64_t n = 1, stride = 1;
    for (int i = in->rank - 1; i > 0; i--) {
        if (i < in->rank - tail && (axes >> i & 1)) {
            for (int64_t k = 1; k < in->dim[i]; k++)
                for (int64_t j = 0; j < n; j++) p->at[k * n + j] = p->at[j] + k * stride;
            n *= in->dim[i];
        }
        stride *= in->dim[i];
    }
}

static status layer_norm_prepare(struct task *task) {
    const struct shape *in = &task->in[0];
    const unsigned axes = task->op->u.norm.axes;
    if (!shape_equal(in, &task->out)) return kernel_mismatch(task, "shapes differ");
    if (axes == 0 || (axes & 1) || axes >> in->rank)
        return kernel_mismatch(task, "its axes are none, the batch, or out of range");
    int64_t size = 1, run = 1;
    int tail = 0;
    while (axes >> (in->rank - 1 - tail) & 1) run *= in->dim[in->rank - 1 - tail++];
    for (int i = 1; i < in->rank; i++)
        if (axes >> i & 1) size *= in->dim[i];
    for (int i = 0; i < 2; i++)
        if (has_param(task, i) && count_of(&task->param[i]) != size)
            return kernel_mismatch(task, "a parameter is not as large as the axes");
    const size_t nbytes = sizeof(struct layer_norm_plan) + (size_t)(size / run) * sizeof(int64_t);
    struct layer_norm_plan *p = calloc(1, nbytes);
    if (!p) return status_no_memory("a layer normalization", nbytes);
    task->plan = p;
    p->run = run;
    p->runs = size / run;
    p->size = size;
    p->groups = count_of(in) / size;
    find_runs(in, axes, tail, p);
    for (int64_t i = in->rank - 1, stride = 1; i >= 0; stride *= in->dim[i--]) {
        if (axes >> i & 1) continue;
        p->dim[p->rank] = in->dim[i];
        p->stride[p->rank++] = stride;
    }
    if (!task->env->train) return SUCCESS;
    task->saved = (size_t)p->groups * sizeof(struct moments);
    task->scratch_backward = 2 * (size_t)(size * task->env->threads) * sizeof(double);
    return SUCCESS;
}

/* Offset of a group. Axes are in the plan from the last to the first. */
static int64_t group_at(const struct layer_norm_plan *p, int64_t group) {
    int64_t at = 0;
    for (int i = 0; i < p->rank; i++) {
        at += group % p->dim[i] * p->stride[i];
        group /= p->dim[i];
    }
    return at;
}

static struct moments moments_of(const struct layer_norm_plan *p, const float *x, float epsilon) {
    const int64_t n = p->run;
    double sum = 0;
    for (int64_t r = 0; r < p->runs; r++) {
        const float *v = x + p->at[r];
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += (double)v[i];
    }
    const double mean = sum / (double)p->size;
    struct moments m = {.high = (float)mean};
    m.low = (float)(mean - (double)m.high);
    double squares = 0;
    for (int64_t r = 0; r < p->runs; r++) {
        const float *v = x + p->at[r];
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < n; i++) {
            float d = (v[i] - m.high) - m.low;
            squares += (double)(d * d);
        }
    }
    m.inverse = (float)(1 / sqrt(squares / (double)p->size + (double)epsilon));
    return m;
}

static void normalize_run(const float *restrict x, const struct moments m, const float *restrict gamma,
                          const float *restrict beta, int64_t n, float *restrict y) {
    if (gamma && beta)
        for (int64_t i = 0; i < n; i++) y[i] = ((x[i] - m.high) - m.low) * m.inverse * gamma[i] + beta[i];
    else
        for (int64_t i = 0; i < n; i++) {
            float v = ((x[i] - m.high) - m.low) * m.inverse;
            y[i] = (gamma ? v * gamma[i] : v) + (beta ? beta[i] : 0);
        }
}

static status layer_norm_forward(struct task *task) {
    const struct layer_norm_plan *p = task->plan;
    struct moments *kept = task->kept;
    const float *gamma = task->w[GAMMA], *beta = task->w[BETA];
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (p->groups * p->size > 16384)
    for (int64_t group = 0; group < p->groups; group++) {
        const int64_t at = group_at(p, group);
        const struct moments m = moments_of(p, task->x[0] + at, task->op->u.norm.epsilon);
        if (kept) kept[group] = m;
        for (int64_t r = 0; r < p->runs; r++)
            normalize_run(task->x[0] + at + p->at[r], m, gamma ? gamma + r * p->run : NULL,
                          beta ? beta + r * p->run : NULL, p->run, task->y + at + p->at[r]);
    }
    return SUCCESS;
}

/* Adds to the sums of dy*xhat and of dy. */
static void param_sums(const struct layer_norm_plan *p, const float *x, const float *dy,
                       const struct moments m, double *restrict dgamma, double *restrict dbeta) {
    for (int64_t r = 0; r < p->runs; r++) {
        const float *restrict v = x + p->at[r], *restrict g = dy + p->at[r];
        double *restrict a = dgamma + r * p->run, *restrict b = dbeta + r * p->run;
        for (int64_t i = 0; i < p->run; i++) {
            a[i] += (double)(g[i] * (((v[i] - m.high) - m.low) * m.inverse));
            b[i] += (double)g[i];
        }
    }
}

/* With g = dy*gamma: dx = inverse * (g - mean(g) - xhat * mean(g*xhat)). */
static void input_gradient(const struct layer_norm_plan *p, const float *x, const float *dy,
                           const float *gamma, const struct moments m, float *dx) {
    double sum = 0, product = 0;
    for (int64_t r = 0; r < p->runs; r++) {
        const float *v = x + p->at[r], *g = dy + p->at[r], *scale = gamma ? gamma + r * p->run : NULL;
#pragma omp simd reduction(+ : sum, product)
        for (int64_t i = 0; i < p->run; i++) {
            float s = scale ? g[i] * scale[i] : g[i];
            sum += (double)s;
            product += (double)(s * (((v[i] - m.high) - m.low) * m.inverse));
        }
    }
    const float mean = (float)(sum / (double)p->size), slope = (float)(product / (double)p->size);
    for (int64_t r = 0; r < p->runs; r++) {
        const float *restrict v = x + p->at[r], *restrict g = dy + p->at[r];
        const float *restrict scale = gamma ? gamma + r * p->run : NULL;
        float *restrict to = dx + p->at[r];
        for (int64_t i = 0; i < p->run; i++) {
            float s = scale ? g[i] * scale[i] : g[i];
            to[i] = m.inverse * (s - mean - ((v[i] - m.high) - m.low) * m.inverse * slope);
        }
    }
}

static status layer_norm_backward(struct task *task) {
    const struct layer_norm_plan *p = task->plan;
    const struct moments *kept = task->kept;
    const int slots = task->env->threads;
    const bool wants_params = task->dw[GAMMA] || task->dw[BETA];
    double *parts = task->scratch;
    if (wants_params) memset(parts, 0, 2 * (size_t)(p->size * slots) * sizeof *parts);
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (p->groups * p->size > 16384)
    for (int slot = 0; slot < slots; slot++) {
        double *dgamma = parts + 2 * p->size * slot;
        int64_t first, last;
        slot_range(p->groups, slots, slot, &first, &last);
        for (int64_t group = first; group < last; group++) {
            const int64_t at = group_at(p, group);
            const float *x = task->x[0] + at, *dy = task->dy + at;
            if (wants_params) param_sums(p, x, dy, kept[group], dgamma, dgamma + p->size);
            if (task->dx[0]) input_gradient(p, x, dy, task->w[GAMMA], kept[group], task->dx[0] + at);
        }
    }
    for (int k = 0; k < 2; k++) {
        if (!task->dw[k]) continue;
        for (int64_t i = 0; i < p->size; i++) {
            double sum = 0;
            for (int slot = 0; slot < slots; slot++) sum += parts[2 * p->size * slot + k * p->size + i];
            task->dw[k][i] = (float)sum;
        }
    }
    return SUCCESS;
}

const struct kernel kernel_layer_norm = {layer_norm_prepare, layer_norm_forward, layer_norm_backward};

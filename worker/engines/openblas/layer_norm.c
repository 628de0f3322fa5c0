/* Layer normalization (Ba, Kiros, Hinton 2016) over any axes but the batch, the others each on their own. */
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/openblas/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAMMA, BETA };

#define SHORT_RUN 8
#define BLOCK 512 /* elements summed in single precision */

/* Elements that are normalized together, a group, lie in `runs` runs of `run` neighbours. Where runs would be
 * short, the axes are moved first, so that a group is one run. */
struct layer_norm_plan {
    bool moves;
    struct view moved;  /* the input with the normalized axes last */
    struct view others; /* the axes that are not normalized */
    int64_t groups;
    int64_t runs, run, size; /* size: runs * run, elements of a group */
    double inverse_size;
    int64_t at[]; /* [runs] where a run begins, from the group's first element */
};

/* What a group is normalized with. The mean is high + low, so that little is lost where it is far from zero.
 */
struct moments {
    float high, low, inverse;
};

/* Begins of runs: all places along the normalized axes but the last `tail` ones, which are one run. */
static void find_runs(const struct shape *in, unsigned axes, int tail, struct layer_norm_plan *p) {
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

/* Adds the axes that are normalized, or the others, to a view. */
static void add_axes(const struct shape *in, unsigned axes, bool normalized, struct view *view) {
    int64_t stride = count_of(in);
    for (int i = 0; i < in->rank; i++) {
        stride /= in->dim[i];
        if ((axes >> i & 1) != normalized) continue;
        view->dim[view->rank] = in->dim[i];
        view->stride[view->rank++] = stride;
    }
}

static void move_axes(const struct shape *in, unsigned axes, struct layer_norm_plan *p) {
    p->moves = true;
    add_axes(in, axes, false, &p->moved);
    add_axes(in, axes, true, &p->moved);
    view_simplify(&p->moved);
    p->run = p->size;
    p->runs = 1;
    p->others = (struct view){.rank = 1, .dim = {p->groups}, .stride = {p->size}};
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
    p->inverse_size = 1 / (double)size;
    p->groups = count_of(in) / size;
    if (run < SHORT_RUN && p->runs > 1) {
        move_axes(in, axes, p);
    } else {
        find_runs(in, axes, tail, p);
        add_axes(in, axes, false, &p->others);
        view_simplify(&p->others);
    }
    const size_t moved = p->moves ? (size_t)count_of(in) * sizeof(float) : 0;
    task->scratch_forward = moved;
    if (!task->env->train) return SUCCESS;
    task->saved = (size_t)p->groups * sizeof(struct moments);
    task->scratch_backward = 2 * moved + 2 * (size_t)(size * task->env->threads) * sizeof(double);
    return SUCCESS;
}

/* Offset of a group. */
static int64_t group_at(const struct layer_norm_plan *p, int64_t group) {
    int64_t at = 0;
    for (int i = p->others.rank - 1; i > 0; i--) {
        at += group % p->others.dim[i] * p->others.stride[i];
        group /= p->others.dim[i];
    }
    return at + group * p->others.stride[0];
}

/* Adds to the sums of x - pivot and of (x - pivot)^2. */
static void add_run(const float *x, int64_t n, const struct moments pivot, double *sum, double *squares) {
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        float s = 0, q = 0;
#pragma omp simd reduction(+ : s, q)
        for (int64_t i = begin; i < end; i++) {
            float d = (x[i] - pivot.high) - pivot.low;
            s += d;
            q += d * d;
        }
        *sum += (double)s;
        *squares += (double)q;
    }
}

/* By sums of the differences from the first element; where that is far from the mean for the variance not to
 * lose digits, again by those from the mean. */
static struct moments moments_of(const struct layer_norm_plan *p, const float *x, float epsilon) {
    struct moments m = {.high = x[0]};
    double shift = 0, variance = 0;
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < p->runs; r++) add_run(x + p->at[r], p->run, m, &sum, &squares);
        shift = sum * p->inverse_size;
        variance = squares * p->inverse_size - shift * shift;
        const double mean = (double)m.high + (double)m.low + shift;
        m.high = (float)mean;
        m.low = (float)(mean - (double)m.high);
        if (shift * shift <= 4 * variance) break;
    }
    m.inverse = (float)(1 / sqrt((variance > 0 ? variance : 0) + (double)epsilon));
    return m;
}

/* y may be x. */
static void normalize_run(const float *x, const struct moments m, const float *restrict gamma,
                          const float *restrict beta, int64_t n, float *y) {
    if (gamma && beta)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = ((x[i] - m.high) - m.low) * m.inverse * gamma[i] + beta[i];
    else
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float v = ((x[i] - m.high) - m.low) * m.inverse;
            y[i] = (gamma ? v * gamma[i] : v) + (beta ? beta[i] : 0);
        }
}

static status layer_norm_forward(struct task *task) {
    const struct layer_norm_plan *p = task->plan;
    struct moments *kept = task->kept;
    const float *gamma = task->w[GAMMA], *beta = task->w[BETA], *x = task->x[0];
    float *y = task->y;
    if (p->moves) {
        view_gather(&p->moved, x, task->scratch, task->env->threads);
        x = y = task->scratch;
    }
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (p->groups * p->size > 16384)
    for (int64_t group = 0; group < p->groups; group++) {
        const int64_t at = group_at(p, group);
        const struct moments m = moments_of(p, x + at, task->op->u.norm.epsilon);
        if (kept) kept[group] = m;
        for (int64_t r = 0; r < p->runs; r++)
            normalize_run(x + at + p->at[r], m, gamma ? gamma + r * p->run : NULL,
                          beta ? beta + r * p->run : NULL, p->run, y + at + p->at[r]);
    }
    if (p->moves) view_scatter(&p->moved, y, task->y, task->env->threads);
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

/* Elements from number `begin` of a group to the end of its run, or of a block. */
static int64_t run_block(const struct layer_norm_plan *p, int64_t begin) {
    const int64_t left = p->run - begin % p->run;
    return left < BLOCK ? left : BLOCK;
}

/* With g = dy*gamma: dx = inverse * (g - mean(g) - xhat * mean(g*xhat)). dx may be dy. */
static void input_gradient(const struct layer_norm_plan *p, const float *x, const float *dy,
                           const float *gamma, const struct moments m, float *dx) {
    double sum = 0, product = 0;
    for (int64_t begin = 0; begin < p->size; begin += run_block(p, begin)) {
        const int64_t at = p->at[begin / p->run] + begin % p->run, n = run_block(p, begin);
        const float *v = x + at, *g = dy + at, *scale = gamma ? gamma + begin : NULL;
        float s = 0, q = 0;
#pragma omp simd reduction(+ : s, q)
        for (int64_t i = 0; i < n; i++) {
            float t = scale ? g[i] * scale[i] : g[i];
            s += t;
            q += t * (((v[i] - m.high) - m.low) * m.inverse);
        }
        sum += (double)s;
        product += (double)q;
    }
    const float mean = (float)(sum * p->inverse_size), slope = (float)(product * p->inverse_size);
    for (int64_t r = 0; r < p->runs; r++) {
        const float *v = x + p->at[r], *g = dy + p->at[r], *scale = gamma ? gamma + r * p->run : NULL;
        float *to = dx + p->at[r];
#pragma omp simd
        for (int64_t i = 0; i < p->run; i++) {
            float t = scale ? g[i] * scale[i] : g[i];
            to[i] = m.inverse * (t - mean - ((v[i] - m.high) - m.low) * m.inverse * slope);
        }
    }
}

static void sum_parts(const double *parts, int64_t n, int slots, int64_t apart, float *sums) {
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int slot = 0; slot < slots; slot++) sum += parts[apart * slot + i];
        sums[i] = (float)sum;
    }
}

static status layer_norm_backward(struct task *task) {
    const struct layer_norm_plan *p = task->plan;
    const struct moments *kept = task->kept;
    const int slots = task->env->threads;
    const bool wants_params = task->dw[GAMMA] || task->dw[BETA];
    const float *x = task->x[0], *dy = task->dy;
    float *dx = task->dx[0];
    double *parts = task->scratch;
    if (wants_params) memset(parts, 0, 2 * (size_t)(p->size * slots) * sizeof *parts);
    if (p->moves) {
        float *moved = (float *)(parts + 2 * p->size * slots), *moved_dy = moved + p->groups * p->size;
        view_gather(&p->moved, x, moved, slots);
        view_gather(&p->moved, dy, moved_dy, slots);
        x = moved;
        dy = moved_dy;
        dx = dx ? moved_dy : NULL;
    }
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (p->groups * p->size > 16384)
    for (int slot = 0; slot < slots; slot++) {
        double *dgamma = parts + 2 * p->size * slot;
        int64_t first, last;
        slot_range(p->groups, slots, slot, &first, &last);
        for (int64_t group = first; group < last; group++) {
            const int64_t at = group_at(p, group);
            if (wants_params) param_sums(p, x + at, dy + at, kept[group], dgamma, dgamma + p->size);
            if (dx) input_gradient(p, x + at, dy + at, task->w[GAMMA], kept[group], dx + at);
        }
    }
    if (p->moves && dx) view_scatter(&p->moved, dx, task->dx[0], slots);
    if (task->dw[GAMMA]) sum_parts(parts, p->size, slots, 2 * p->size, task->dw[GAMMA]);
    if (task->dw[BETA]) sum_parts(parts + p->size, p->size, slots, 2 * p->size, task->dw[BETA]);
    return SUCCESS;
}

const struct kernel kernel_layer_norm = {layer_norm_prepare, layer_norm_forward, layer_norm_backward};

/* Batch normalization over all axes but the last (Ioffe, Szegedy 2015), with a following clamping activation
 * fused. Moving statistics as in Keras: moving = moving*momentum + batch*(1 - momentum), biased variance.
 *
 * Statistics are sums of x - K and (x - K)^2 with K the moving mean, the same on all ranks, so that little is
 * lost to cancellation; they are summed over the ranks in double precision. Backward finds what the
 * activation let through from x itself, so that the result need not be read again. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAMMA, BETA, MEAN, VARIANCE };

struct batch_norm {
    struct columns columns;
    struct clamp clamp;
    int64_t rows_global;                           /* rows of all ranks */
    float *mean, *inverse, *scale, *shift, *slope; /* [C] */
    float *wide;                                   /* [5][width]: mean, scale, shift, slope, offset */
    double *sums, *global;                         /* [2C] each */
    double *parts;
};

static bool uses_batch(const struct onednn_exec *exec, const struct step *step) {
    return step_trains(exec) && exec->options.batch_norm == BATCH_NORM_BATCH && !step->op->u.norm.fixed;
}

static float *wide(const struct batch_norm *n, int i) {
    return n->wide + i * n->columns.width;
}

static status batch_norm_prepare(struct onednn_exec *exec, struct step *step) {
    const int x = step->in[0];
    const struct shape *shape = &exec->shape[x];
    const int64_t c = shape->dim[shape->rank - 1];
    if (!shape_equal(shape, &exec->shape[step->out])) return step_mismatch(exec, step, "shapes differ");
    if (step->op->param[MEAN] < 0 || step->op->param[VARIANCE] < 0)
        return step_mismatch(exec, step, "moving mean or variance is absent");
    for (int i = 0; i < 4; i++)
        if (step->op->param[i] >= 0 && exec->graph->param[step->op->param[i]].count != c)
            return step_mismatch(exec, step, "a parameter does not have one value per channel");
    struct batch_norm *n = calloc(1, sizeof *n);
    if (!n) return status_no_memory("a batch norm", sizeof *n);
    step->state = n;
    if (!clamp_of(step->act, &n->clamp)) return step_mismatch(exec, step, "its activation cannot be fused");
    n->columns = columns_make(exec->count[x], c, exec->options.threads);
    n->rows_global = exec->count[x] / c / exec->options.batch * exec->global_batch;
    STATUS_TRY(step_alloc(exec, "a batch norm", 5 * (size_t)c + 5 * (size_t)n->columns.width, sizeof(float),
                          (void **)&n->wide));
    n->mean = n->wide + 5 * n->columns.width;
    n->inverse = n->mean + c;
    n->scale = n->inverse + c;
    n->shift = n->scale + c;
    n->slope = n->shift + c;
    if (step_trains(exec)) {
        STATUS_TRY(step_alloc(exec, "a batch norm", columns_parts(&n->columns) + 4 * (size_t)c,
                              sizeof(double), (void **)&n->sums));
        n->global = n->sums + 2 * c;
        n->parts = n->global + 2 * c;
    }
    step->inplace = true;
    step->inplace_backward = true;
    step->needs_in = true;
    return SUCCESS;
}

static status sum_ranks(struct onednn_exec *exec, double *sums, int64_t count) {
    const struct exec_options *o = &exec->options;
    return o->sum ? o->sum(o->context, sums, (int)count) : SUCCESS;
}

static status batch_statistics(struct onednn_exec *exec, struct step *step, struct batch_norm *n) {
    const int64_t c = n->columns.channels;
    const double momentum = (double)step->op->u.norm.momentum, rows = (double)n->rows_global;
    float *mean = step_param(exec, step->op->param[MEAN]),
          *variance = step_param(exec, step->op->param[VARIANCE]);
    columns_spread(&n->columns, mean, wide(n, 0));
    columns_moments(&n->columns, exec->value[step->in[0]], wide(n, 0), n->parts, n->sums);
    STATUS_TRY(sum_ranks(exec, n->sums, 2 * c));
    for (int64_t i = 0; i < c; i++) {
        double shifted = n->sums[i] / rows, m = (double)mean[i] + shifted;
        double v = n->sums[c + i] / rows - shifted * shifted;
        if (v < 0) v = 0;
        n->mean[i] = (float)m;
        n->inverse[i] = (float)(1 / sqrt(v + (double)step->op->u.norm.epsilon));
        mean[i] = (float)((double)mean[i] * momentum + m * (1 - momentum));
        variance[i] = (float)((double)variance[i] * momentum + v * (1 - momentum));
    }
    return SUCCESS;
}

static void moving_statistics(struct onednn_exec *exec, struct step *step, struct batch_norm *n) {
    const float *mean = step_param(exec, step->op->param[MEAN]),
                *variance = step_param(exec, step->op->param[VARIANCE]);
    for (int64_t i = 0; i < n->columns.channels; i++) {
        n->mean[i] = mean[i];
        n->inverse[i] = (float)(1 / sqrt((double)variance[i] + (double)step->op->u.norm.epsilon));
    }
}

/* Scale and shift from mean and inverse, all spread. */
static void spread_affine(struct onednn_exec *exec, struct step *step, struct batch_norm *n) {
    const float *gamma = step_param(exec, step->op->param[GAMMA]),
                *beta = step_param(exec, step->op->param[BETA]);
    for (int64_t i = 0; i < n->columns.channels; i++) {
        n->scale[i] = gamma ? gamma[i] * n->inverse[i] : n->inverse[i];
        n->shift[i] = beta ? beta[i] : 0;
    }
    columns_spread(&n->columns, n->mean, wide(n, 0));
    columns_spread(&n->columns, n->scale, wide(n, 1));
    columns_spread(&n->columns, n->shift, wide(n, 2));
}

static status batch_norm_pack(struct onednn_exec *exec, struct step *step) {
    moving_statistics(exec, step, step->state);
    spread_affine(exec, step, step->state);
    return SUCCESS;
}

static status batch_norm_forward(struct onednn_exec *exec, struct step *step) {
    struct batch_norm *n = step->state;
    if (step_trains(exec)) {
        if (uses_batch(exec, step)) STATUS_TRY(batch_statistics(exec, step, n));
        else moving_statistics(exec, step, n);
        spread_affine(exec, step, n);
    }
    columns_affine(&n->columns, &n->clamp, exec->value[step->in[0]], wide(n, 0), wide(n, 1), wide(n, 2),
                   exec->value[step->out]);
    return SUCCESS;
}

/* dx = scale*(dz - sum(dz)/rows - xhat*sum(dz*xhat)/rows); the sums vanish with moving statistics. */
static status batch_norm_dx(struct onednn_exec *exec, struct step *step, struct batch_norm *n) {
    const int64_t c = n->columns.channels;
    const double rows = (double)n->rows_global;
    const bool batch = uses_batch(exec, step);
    memcpy(n->global, n->sums, 2 * (size_t)c * sizeof *n->sums);
    if (batch) STATUS_TRY(sum_ranks(exec, n->global, 2 * c));
    for (int64_t i = 0; i < c && batch; i++)
        n->slope[i] = (float)(-(double)n->scale[i] * n->inverse[i] * n->inverse[i] * n->global[c + i] / rows);
    if (batch) columns_spread(&n->columns, n->slope, wide(n, 3));
    for (int64_t i = 0; i < c && batch; i++)
        n->slope[i] = (float)(-(double)n->scale[i] * n->global[i] / rows);
    if (batch) columns_spread(&n->columns, n->slope, wide(n, 4));
    columns_norm_backward(&n->columns, &n->clamp, exec->value[step->in[0]], exec->grad[step->out], wide(n, 0),
                          wide(n, 1), wide(n, 2), wide(n, 3), wide(n, 4), step->accumulate[0],
                          exec->grad[step->in[0]]);
    return SUCCESS;
}

static status batch_norm_backward(struct onednn_exec *exec, struct step *step) {
    struct batch_norm *n = step->state;
    const int64_t c = n->columns.channels;
    const bool wants_dx = exec->grad[step->in[0]];
    const bool wants_gamma = step_wants_param(exec, step->op->param[GAMMA]);
    const bool wants_beta = step_wants_param(exec, step->op->param[BETA]);
    if (wants_gamma || wants_beta || (wants_dx && uses_batch(exec, step)))
        columns_norm_sums(&n->columns, &n->clamp, exec->value[step->in[0]], exec->grad[step->out], wide(n, 0),
                          wide(n, 1), wide(n, 2), n->parts, n->sums);
    if (wants_gamma) {
        float *grad = step_param_grad(exec, step->op->param[GAMMA]);
        for (int64_t i = 0; i < c; i++) grad[i] = (float)(n->sums[c + i] * (double)n->inverse[i]);
        step_param_done(exec, step->op->param[GAMMA]);
    }
    if (wants_beta) {
        float *grad = step_param_grad(exec, step->op->param[BETA]);
        for (int64_t i = 0; i < c; i++) grad[i] = (float)n->sums[i];
        step_param_done(exec, step->op->param[BETA]);
    }
    return wants_dx ? batch_norm_dx(exec, step, n) : SUCCESS;
}

static void batch_norm_destroy(struct step *step) {
    struct batch_norm *n = step->state;
    if (!n) return;
    free(n->wide);
    free(n->sums);
    free(n);
}

const struct step_kind step_batch_norm = {.prepare = batch_norm_prepare,
                                          .pack = batch_norm_pack,
                                          .forward = batch_norm_forward,
                                          .backward = batch_norm_backward,
                                          .destroy = batch_norm_destroy};

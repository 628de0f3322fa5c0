/* Batch normalization over all axes but the last (Ioffe, Szegedy 2015), with Keras's rule for the moving
 * statistics: moving = moving*momentum + batch*(1 - momentum), with the biased variance. */
#include "worker/engines/openblas/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAMMA, BETA, MEAN, VARIANCE };

/* Kept from forward to backward: per channel, what x is normalized with. */
struct kept {
    float *mean, *inverse; /* [C] each */
};

static struct kept kept_of(const struct task *task) {
    float *p = task->kept;
    return (struct kept){p, p + last_dim(&task->out)};
}

static status batch_norm_prepare(struct task *task) {
    const int64_t c = last_dim(&task->in[0]);
    if (!shape_equal(&task->in[0], &task->out)) return kernel_mismatch(task, "shapes differ");
    if (!has_param(task, MEAN) || !has_param(task, VARIANCE))
        return kernel_mismatch(task, "moving mean or variance is absent");
    for (int i = 0; i < 4; i++)
        if (has_param(task, i) && count_of(&task->param[i]) != c)
            return kernel_mismatch(task, "a parameter does not have one value per channel");
    task->saved = 2 * (size_t)c * sizeof(float);
    /* Scale and shift of x, and in training two sums per channel for each slot. */
    task->scratch_forward = 2 * (size_t)c * sizeof(float);
    if (task->env->train) {
        size_t sums = 2 * (size_t)c * (size_t)(task->env->threads + 1) * sizeof(double);
        task->scratch_forward += sums;
        task->scratch_backward = sums;
    }
    return SUCCESS;
}

/* sums[2C]: over all rows of x, of x and x^2 (dy NULL) or of dy and dy*(x - mean)*inverse. `parts` is
 * [threads][2C]; summed in double precision, slot by slot. */
static void channel_sums(const struct task *task, const float *dy, double *sums, double *parts) {
    const int slots = task->env->threads;
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
    const struct kept kept = kept_of(task);
    const float *mean = kept.mean, *inverse = kept.inverse;
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        double *restrict a = parts + 2 * c * slot, *restrict b = a + c;
        memset(a, 0, 2 * (size_t)c * sizeof *a);
        int64_t begin, end;
        slot_range(rows, slots, slot, &begin, &end);
        for (int64_t i = begin; i < end; i++) {
            const float *restrict x = task->x[0] + i * c;
            if (!dy) {
                for (int64_t j = 0; j < c; j++) {
                    double v = x[j];
                    a[j] += v;
                    b[j] += v * v;
                }
                continue;
            }
            const float *restrict g = dy + i * c;
            for (int64_t j = 0; j < c; j++) {
                a[j] += g[j];
                b[j] += (double)g[j] * ((x[j] - mean[j]) * inverse[j]);
            }
        }
    }
    for (int64_t j = 0; j < 2 * c; j++) {
        sums[j] = 0;
        for (int slot = 0; slot < slots; slot++) sums[j] += parts[2 * c * slot + j];
    }
}

static status sum_over_ranks(const struct task *task, double *sums) {
    const struct kernel_env *env = task->env;
    return env->sum ? env->sum(env->context, sums, 2 * (int)last_dim(&task->out)) : SUCCESS;
}

/* Rows of the global batch. */
static double global_rows(const struct task *task) {
    const int64_t of_sample = count_of(&task->out) / last_dim(&task->out) / task->env->batch;
    return (double)of_sample * (double)task->env->global_batch;
}

/* Mean and 1/sqrt(variance + epsilon) of the batch; the moving statistics follow. */
static status batch_statistics(struct task *task, double *sums) {
    const int64_t c = last_dim(&task->out);
    const float momentum = task->op->u.norm.momentum;
    const struct kept kept = kept_of(task);
    channel_sums(task, NULL, sums, sums + 2 * c);
    STATUS_TRY(sum_over_ranks(task, sums));
    const double rows = global_rows(task);
    for (int64_t j = 0; j < c; j++) {
        double mean = sums[j] / rows, variance = sums[c + j] / rows - mean * mean;
        if (variance < 0) variance = 0;
        kept.mean[j] = (float)mean;
        kept.inverse[j] = (float)(1 / sqrt(variance + (double)task->op->u.norm.epsilon));
        task->w[MEAN][j] = task->w[MEAN][j] * momentum + (float)mean * (1 - momentum);
        task->w[VARIANCE][j] = task->w[VARIANCE][j] * momentum + (float)variance * (1 - momentum);
    }
    return SUCCESS;
}

static void moving_statistics(struct task *task) {
    const struct kept kept = kept_of(task);
    for (int64_t j = 0; j < last_dim(&task->out); j++) {
        kept.mean[j] = task->w[MEAN][j];
        kept.inverse[j] = (float)(1 / sqrt((double)task->w[VARIANCE][j] + (double)task->op->u.norm.epsilon));
    }
}

static bool uses_batch(const struct task *task) {
    return task->env->train && task->env->batch_norm == BATCH_NORM_BATCH && !task->op->u.norm.fixed;
}

static status batch_norm_forward(struct task *task) {
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
    float *restrict scale = task->scratch, *restrict shift = scale + c;
    if (uses_batch(task)) STATUS_TRY(batch_statistics(task, (double *)(shift + c)));
    else moving_statistics(task);
    const struct kept kept = kept_of(task);
    for (int64_t j = 0; j < c; j++) {
        scale[j] = task->w[GAMMA] ? kept.inverse[j] * task->w[GAMMA][j] : kept.inverse[j];
        shift[j] = task->w[BETA] ? task->w[BETA][j] : 0;
    }
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (rows * c > 16384)
    for (int64_t i = 0; i < rows; i++) {
        const float *restrict x = task->x[0] + i * c, *mean = kept.mean;
        float *restrict y = task->y + i * c;
        for (int64_t j = 0; j < c; j++) y[j] = (x[j] - mean[j]) * scale[j] + shift[j];
    }
    return SUCCESS;
}

static status batch_norm_backward(struct task *task) {
    const int64_t c = last_dim(&task->out), rows = count_of(&task->out) / c;
    const struct kept kept = kept_of(task);
    const bool batch = uses_batch(task);
    double *sums = task->scratch;
    if (task->dw[GAMMA] || task->dw[BETA] || (batch && task->dx[0]))
        channel_sums(task, task->dy, sums, sums + 2 * c);
    for (int64_t j = 0; j < c; j++) {
        if (task->dw[BETA]) task->dw[BETA][j] = (float)sums[j];
        if (task->dw[GAMMA]) task->dw[GAMMA][j] = (float)sums[c + j];
    }
    if (!task->dx[0]) return SUCCESS;

    /* dx = scale * (dy - mean(dy) - xhat * mean(dy * xhat)); the means vanish with moving statistics. */
    if (batch) STATUS_TRY(sum_over_ranks(task, sums));
    const double n = global_rows(task);
    float *restrict scale = (float *)(sums + 2 * c), *restrict dy_mean = scale + c,
                    *restrict slope = dy_mean + c;
    for (int64_t j = 0; j < c; j++) {
        scale[j] = task->w[GAMMA] ? kept.inverse[j] * task->w[GAMMA][j] : kept.inverse[j];
        dy_mean[j] = batch ? (float)(sums[j] / n) : 0;
        slope[j] = batch ? (float)(sums[c + j] / n) * kept.inverse[j] : 0;
    }
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (rows * c > 16384)
    for (int64_t i = 0; i < rows; i++) {
        const float *restrict x = task->x[0] + i * c, *restrict dy = task->dy + i * c, *mean = kept.mean;
        float *restrict dx = task->dx[0] + i * c;
        if (batch)
            for (int64_t j = 0; j < c; j++)
                dx[j] = scale[j] * (dy[j] - dy_mean[j] - (x[j] - mean[j]) * slope[j]);
        else
            for (int64_t j = 0; j < c; j++) dx[j] = scale[j] * dy[j];
    }
    return SUCCESS;
}

const struct kernel kernel_batch_norm = {batch_norm_prepare, batch_norm_forward, batch_norm_backward};

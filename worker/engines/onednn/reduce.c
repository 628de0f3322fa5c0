/* Mean over the axes between the batch and the channels: global average pooling. Other reductions are
 * computed by the portable kernel. */
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>

struct mean_step {
    int64_t n, rows, channels;
};

static bool is_mean_of_middle(const struct onednn_exec *exec, const struct step *step) {
    const int rank = exec->shape[step->in[0]].rank;
    const unsigned middle = (1U << (rank - 1)) - 2;
    return step->op->u.reduce.kind == REDUCE_MEAN && step->op->u.reduce.axes == middle && rank >= 3;
}

static status reduce_prepare(struct onednn_exec *exec, struct step *step) {
    const struct shape *x = &exec->shape[step->in[0]];
    if (!is_mean_of_middle(exec, step)) {
        step->kind = &step_portable;
        return step->kind->prepare(exec, step);
    }
    struct mean_step *r = calloc(1, sizeof *r);
    if (!r) return status_no_memory("a reduction", sizeof *r);
    step->state = r;
    r->n = x->dim[0];
    r->channels = x->dim[x->rank - 1];
    r->rows = exec->count[step->in[0]] / (r->n * r->channels);
    if (exec->count[step->out] != r->n * r->channels)
        return step_mismatch(exec, step, "its output has another size");
    step->any_format = true;
    return SUCCESS;
}

/* y (channels) = scale * the sum of all rows, of numbers of one type. */
#define SUM_ROWS(name, type, value)                                                                          \
    static void name(const struct mean_step *r, float scale, const void *stored, float *restrict y) {        \
        for (int64_t j = 0; j < r->channels; j++) y[j] = 0;                                                  \
        for (int64_t k = 0; k < r->rows; k++) {                                                              \
            const type *row = (const type *)stored + k * r->channels;                                        \
            _Pragma("omp simd") for (int64_t j = 0; j < r->channels; j++) y[j] += value(row[j]);             \
        }                                                                                                    \
        for (int64_t j = 0; j < r->channels; j++) y[j] *= scale;                                             \
    }
SUM_ROWS(sum_bf16, uint16_t, format_from_bfloat16)
SUM_ROWS(sum_u8, uint8_t, (float))
SUM_ROWS(sum_i8, int8_t, (float))

static void forward_stored(struct onednn_exec *exec, struct step *step) {
    const struct mean_step *r = step->state;
    const struct format format = exec->format[step->in[0]];
    const float scale = format.scale / (float)r->rows;
    const size_t nbytes = (size_t)(r->rows * r->channels) * dtype_size(format.dtype);
    const char *x = (const char *)exec->value[step->in[0]];
    float *y = exec->value[step->out];
#pragma omp parallel for num_threads(exec->options.threads)                                                  \
    schedule(static) if (exec->count[step->in[0]] > 8192)
    for (int64_t i = 0; i < r->n; i++)
        (format.dtype == DTYPE_BF16 ? sum_bf16
         : format.dtype == DTYPE_U8 ? sum_u8
                                    : sum_i8)(r, scale, x + (size_t)i * nbytes, y + i * r->channels);
}

static status reduce_forward(struct onednn_exec *exec, struct step *step) {
    const struct mean_step *r = step->state;
    const int64_t channels = r->channels;
    const float *x = exec->value[step->in[0]];
    float *y = exec->value[step->out];
    const float scale = 1 / (float)r->rows;
    if (exec->format[step->in[0]].dtype != DTYPE_F32) {
        forward_stored(exec, step);
        return SUCCESS;
    }
#pragma omp parallel for num_threads(exec->options.threads)                                                  \
    schedule(static) if (exec->count[step->in[0]] > 8192)
    for (int64_t i = 0; i < r->n; i++) {
        const float *p = x + i * r->rows * channels;
        float *restrict q = y + i * channels;
        for (int64_t j = 0; j < channels; j++) q[j] = p[j];
        for (int64_t k = 1; k < r->rows; k++) {
            const float *row = p + k * channels;
#pragma omp simd
            for (int64_t j = 0; j < channels; j++) q[j] += row[j];
        }
        for (int64_t j = 0; j < channels; j++) q[j] *= scale;
    }
    return SUCCESS;
}

static status reduce_backward(struct onednn_exec *exec, struct step *step) {
    const struct mean_step *r = step->state;
    const int64_t channels = r->channels;
    const float *dy = exec->grad[step->out];
    float *dx = exec->grad[step->in[0]];
    if (!dx) return SUCCESS;
    const bool add = step->accumulate[0];
    const float scale = 1 / (float)r->rows;
#pragma omp parallel for num_threads(exec->options.threads)                                                  \
    schedule(static) if (exec->count[step->in[0]] > 8192)
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t k = 0; k < r->rows; k++) {
            float *restrict p = dx + (i * r->rows + k) * channels;
            const float *restrict q = dy + i * channels;
#pragma omp simd
            for (int64_t j = 0; j < channels; j++) p[j] = add ? p[j] + q[j] * scale : q[j] * scale;
        }
    return SUCCESS;
}

static enum step_formats reduce_formats(const struct onednn_exec *exec, const struct step *step) {
    return is_mean_of_middle(exec, step) ? STEP_READS : STEP_FLOAT32;
}

const struct step_kind step_reduce = {.prepare = reduce_prepare,
                                      .forward = reduce_forward,
                                      .backward = reduce_backward,
                                      .formats = reduce_formats};

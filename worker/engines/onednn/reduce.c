/* Mean over the axes between the batch and the channels: global average pooling. Other reductions are
 * computed by the portable kernel. */
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>

struct mean_step {
    int64_t n, rows, channels;
};

static status reduce_prepare(struct onednn_exec *exec, struct step *step) {
    const struct shape *x = &exec->shape[step->in[0]];
    const unsigned middle = (1U << (x->rank - 1)) - 2;
    if (step->op->u.reduce.kind != REDUCE_MEAN || step->op->u.reduce.axes != middle || x->rank < 3) {
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
    return SUCCESS;
}

static status reduce_forward(struct onednn_exec *exec, struct step *step) {
    const struct mean_step *r = step->state;
    const int64_t channels = r->channels;
    const float *x = exec->value[step->in[0]];
    float *y = exec->value[step->out];
    const float scale = 1 / (float)r->rows;
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

const struct step_kind step_reduce = {reduce_prepare, NULL, reduce_forward, reduce_backward, NULL};

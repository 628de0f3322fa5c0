/* Dense layers on the last axis: matrix products, forward by panels.h, as rows are different samples'. In
 * inference, batch norm is folded into packed weights; a clamping activation is fused. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/fold.h"
#include "worker/engines/onednn/kinds.h"
#include "worker/engines/onednn/rounded.h"
#include "worker/engines/panels.h"

#include <stdlib.h>
#include <string.h>

struct dense {
    int64_t rows, k, m;
    struct columns columns;
    struct clamp clamp;
    bool bias;
    float *packed;      /* EXEC_INFER: weights, then the bias [M] */
    float *folded_bias; /* in `packed` */
    double *sums;       /* EXEC_TRAIN: [2M], then parts */
};

/* As a 1x1 convolution of an image whose pixels are the rows. */
static struct conv_shape as_convolution(const struct dense *d) {
    return (struct conv_shape){.n = 1,
                               .in = {1, d->rows},
                               .channels = d->k,
                               .out = {1, d->rows},
                               .filters = d->m,
                               .groups = 1,
                               .window = {.size = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}}};
}

static status dense_prepare(struct onednn_exec *exec, struct step *step) {
    const struct shape *x = &exec->shape[step->in[0]], *y = &exec->shape[step->out];
    if (step->op->param[0] < 0) return step_mismatch(exec, step, "it has no kernel");
    struct dense *d = calloc(1, sizeof *d);
    if (!d) return status_no_memory("a dense operation", sizeof *d);
    step->state = d;
    d->k = x->dim[x->rank - 1];
    d->m = y->dim[y->rank - 1];
    d->rows = exec->count[step->in[0]] / d->k;
    struct shape want = SHAPE(d->k, d->m);
    if (!shape_equal(&exec->graph->param[step->op->param[0]].shape, &want) ||
        d->rows * d->m != exec->count[step->out])
        return step_mismatch(exec, step, "shapes do not fit its kernel");
    bool done;
    const struct conv_shape shape = as_convolution(d);
    step->state = NULL;
    status error = rounded_prepare(exec, step, &shape, &done);
    if (error || done) free(d);
    else step->state = d;
    if (error || done) return error;
    if (!clamp_of(step->act, &d->clamp)) return step_mismatch(exec, step, "its activation cannot be fused");
    d->columns = columns_make(exec->count[step->out], d->m, exec->options.threads);
    d->bias = step->norm || step->op->param[1] >= 0;
    if (!step_trains(exec)) {
        const size_t weights = panels_floats(d->k, d->m);
        STATUS_TRY(
            step_alloc(exec, "packed weights", weights + (size_t)d->m, sizeof(float), (void **)&d->packed));
        d->folded_bias = d->packed + weights;
        return SUCCESS;
    }
    step->scratch_bytes[PHASE_FORWARD] = panels_scratch(d->m, d->k, exec->options.threads) * sizeof(float);
    STATUS_TRY(step_alloc(exec, "a dense operation", 2 * (size_t)d->m + columns_parts(&d->columns),
                          sizeof(double), (void **)&d->sums));
    step->needs_in = step_wants_param(exec, step->op->param[0]);
    step->needs_out = d->clamp.on;
    return SUCCESS;
}

static status dense_pack(struct onednn_exec *exec, struct step *step) {
    struct dense *d = step->state;
    const float *kernel = step_param(exec, step->op->param[0]);
    float *folded = NULL;
    if (step->norm)
        STATUS_TRY(memory_alloc("folded weights", (size_t)(d->k * d->m), sizeof *folded, (void **)&folded));
    fold_norm(exec, step, folded ? d->k : 0, d->m, folded, d->folded_bias);
    panels_pack(d->k, d->m, 0, panels_count(d->m), folded ? folded : kernel, d->m, 1, d->packed);
    free(folded);
    return SUCCESS;
}

static status dense_forward(struct onednn_exec *exec, struct step *step) {
    struct dense *d = step->state;
    const int threads = exec->options.threads;
    const float *x = exec->value[step->in[0]];
    float *y = exec->value[step->out];
    if (step_trains(exec))
        panels_rows(d->rows, d->m, d->k, x, step_param(exec, step->op->param[0]),
                    step_param(exec, step->op->param[1]), threads, step->scratch[PHASE_FORWARD], y);
    else panels_rows_packed(d->rows, d->m, d->k, x, d->packed, d->bias ? d->folded_bias : NULL, threads, y);
    columns_bias(&d->columns, &d->clamp, NULL, y);
    return SUCCESS;
}

static status dense_backward(struct onednn_exec *exec, struct step *step) {
    struct dense *d = step->state;
    const int kernel = step->op->param[0], bias = step->op->param[1];
    const float *x = exec->value[step->in[0]];
    float *dy = exec->grad[step->out], *dx = exec->grad[step->in[0]];
    const bool wants_bias = step_wants_param(exec, bias);
    columns_mask(&d->columns, &d->clamp, exec->value[step->out], dy, d->sums + 2 * d->m,
                 wants_bias ? d->sums : NULL);
    if (wants_bias) {
        float *grad = step_param_grad(exec, bias);
        for (int64_t i = 0; i < d->m; i++) grad[i] = (float)d->sums[i];
        step_param_done(exec, bias);
    }
    if (step_wants_param(exec, kernel)) {
        STATUS_TRY(dnn_gemm(true, false, d->k, d->m, d->rows, x, d->k, dy, d->m, 0,
                            step_param_grad(exec, kernel), d->m));
        step_param_done(exec, kernel);
    }
    if (!dx) return SUCCESS;
    return dnn_gemm(false, true, d->rows, d->k, d->m, dy, d->m, step_param(exec, kernel), d->m,
                    step->accumulate[0] ? 1 : 0, dx, d->k);
}

static void dense_destroy(struct step *step) {
    struct dense *d = step->state;
    if (!d) return;
    free(d->packed);
    free(d->sums);
    free(d);
}

const struct step_kind step_dense = {dense_prepare,  dense_pack,    dense_forward,
                                     dense_backward, dense_destroy, rounded_formats};

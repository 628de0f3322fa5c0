/* Dense layers on the last axis: matrix products on the Keras layout of the weights. In inference, batch norm
 * is folded into a copy of the weights; a clamping activation is fused. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/fold.h"
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>
#include <string.h>

struct dense {
    int64_t rows, k, m;
    struct columns columns;
    struct clamp clamp;
    float *wide;   /* bias, spread; in inference followed by bias [M] and weights (K, M) */
    float *folded; /* the latter; NULL in training: the weights are read where they are */
    bool bias;
    double *sums; /* [2M], then parts */
};

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
    if (!clamp_of(step->act, &d->clamp)) return step_mismatch(exec, step, "its activation cannot be fused");
    d->columns = columns_make(exec->count[step->out], d->m, exec->options.threads);
    size_t folded = step_trains(exec) ? 0 : (size_t)(d->k * d->m);
    d->bias = step->norm || step->op->param[1] >= 0;
    STATUS_TRY(step_alloc(exec, "a dense operation", (size_t)(d->columns.width + d->m) + folded,
                          sizeof(float), (void **)&d->wide));
    if (folded) d->folded = d->wide + d->columns.width + d->m;
    if (step_trains(exec))
        STATUS_TRY(step_alloc(exec, "a dense operation", 2 * (size_t)d->m + columns_parts(&d->columns),
                              sizeof(double), (void **)&d->sums));
    step->needs_in = step_wants_param(exec, step->op->param[0]);
    step->needs_out = d->clamp.on;
    return SUCCESS;
}

static status dense_pack(struct onednn_exec *exec, struct step *step) {
    struct dense *d = step->state;
    float *bias = d->wide + d->columns.width;
    fold_norm(exec, step, d->k, d->m, d->folded, bias);
    columns_spread(&d->columns, bias, d->wide);
    return SUCCESS;
}

static status dense_forward(struct onednn_exec *exec, struct step *step) {
    struct dense *d = step->state;
    const float *w = d->folded ? d->folded : step_param(exec, step->op->param[0]);
    float *y = exec->value[step->out];
    STATUS_TRY(
        dnn_gemm(false, false, d->rows, d->m, d->k, exec->value[step->in[0]], d->k, w, d->m, 0, y, d->m));
    if (step_trains(exec) && d->bias)
        columns_spread(&d->columns, step_param(exec, step->op->param[1]), d->wide);
    columns_bias(&d->columns, &d->clamp, d->bias ? d->wide : NULL, y);
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
    free(d->wide);
    free(d->sums);
    free(d);
}

const struct step_kind step_dense = {dense_prepare, dense_pack, dense_forward, dense_backward, dense_destroy};

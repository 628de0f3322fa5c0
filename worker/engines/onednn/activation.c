/* Elementwise activations that stand alone: clamping ones by own loops, the others by oneDNN. Those that
 * oneDNN does not have are computed by the portable kernel. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>

struct activation_step {
    struct clamp clamp;
    bool clamps;
    struct prim *forward, *backward;
    size_t dx_at;
};

static status activation_prepare(struct onednn_exec *exec, struct step *step) {
    const struct op *op = step->op;
    const int64_t count = exec->count[step->out];
    if (exec->count[step->in[0]] != count) return step_mismatch(exec, step, "shapes differ");
    if (op->u.act.kind == ACTIVATION_LINEAR) {
        step->kind = &step_alias;
        return step->kind->prepare(exec, step);
    }
    struct clamp clamp;
    const bool clamps = clamp_of(op, &clamp);
    if (!clamps && !prim_activation_known(op)) {
        step->kind = &step_portable;
        return step->kind->prepare(exec, step);
    }
    struct activation_step *a = calloc(1, sizeof *a);
    if (!a) return status_no_memory("an activation", sizeof *a);
    step->state = a;
    a->clamp = clamp;
    a->clamps = clamps;
    step->inplace = true;
    step->needs_out = a->clamps || prim_activation_uses_output(op);
    step->needs_in = !step->needs_out;
    if (a->clamps) {
        step->inplace_backward = true;
        return SUCCESS;
    }
    STATUS_TRY(prim_activation_forward(exec->dnn, count, op, &a->forward));
    if (!step_trains(exec) || !exec->wants_grad[step->in[0]]) return SUCCESS;
    step->inplace_backward = true;
    if (step->accumulate[0])
        a->dx_at = step_reserve(&step->scratch_bytes[PHASE_BACKWARD], (size_t)count * sizeof(float));
    return prim_activation_backward(exec->dnn, count, op, &a->backward);
}

static status activation_forward(struct onednn_exec *exec, struct step *step) {
    struct activation_step *a = step->state;
    const float *x = exec->value[step->in[0]];
    float *y = exec->value[step->out];
    if (!a->clamps) {
        prim_set(a->forward, PRIM_SRC, x);
        prim_set(a->forward, PRIM_DST, y);
        return prim_run(exec->dnn, a->forward);
    }
    const struct clamp k = a->clamp;
    const int64_t count = exec->count[step->out];
#pragma omp parallel for simd num_threads(exec->options.threads) schedule(static) if (count > 16384)
    for (int64_t i = 0; i < count; i++) y[i] = clamp_value(&k, x[i]);
    return SUCCESS;
}

static status activation_backward(struct onednn_exec *exec, struct step *step) {
    struct activation_step *a = step->state;
    float *dx = exec->grad[step->in[0]];
    const float *dy = exec->grad[step->out];
    const int64_t count = exec->count[step->out];
    if (!dx) return SUCCESS;
    if (!a->clamps) {
        float *out =
            step->accumulate[0] ? (float *)(void *)((char *)step->scratch[PHASE_BACKWARD] + a->dx_at) : dx;
        prim_set(a->backward, PRIM_SRC, exec->value[step->in[0]]);
        prim_set(a->backward, PRIM_DST, exec->value[step->out]);
        prim_set(a->backward, PRIM_DIFF_DST, dy);
        prim_set(a->backward, PRIM_DIFF_SRC, out);
        STATUS_TRY(prim_run(exec->dnn, a->backward));
        if (out != dx) array_add(count, exec->options.threads, &CLAMP_NONE, dx, out, dx);
        return SUCCESS;
    }
    const struct clamp k = a->clamp;
    const float *y = exec->value[step->out];
    const bool add = step->accumulate[0];
#pragma omp parallel for simd num_threads(exec->options.threads) schedule(static) if (count > 16384)
    for (int64_t i = 0; i < count; i++) {
        float g = dy[i] * clamp_slope(&k, y[i]);
        dx[i] = add ? dx[i] + g : g;
    }
    return SUCCESS;
}

static void activation_destroy(struct step *step) {
    struct activation_step *a = step->state;
    if (!a) return;
    prim_destroy(&a->forward);
    prim_destroy(&a->backward);
    free(a);
}

static enum step_formats activation_formats(const struct onednn_exec *exec, const struct step *step) {
    (void)exec;
    return step->op->u.act.kind == ACTIVATION_LINEAR ? STEP_MOVES : STEP_ANY;
}

const struct step_kind step_activation = {.prepare = activation_prepare,
                                          .forward = activation_forward,
                                          .backward = activation_backward,
                                          .destroy = activation_destroy,
                                          .formats = activation_formats};

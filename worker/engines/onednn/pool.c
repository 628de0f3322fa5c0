/* Pooling over windows, by oneDNN; what it cannot do, by the portable kernel. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>

struct pool_step {
    struct prim *forward, *backward;
    size_t dx_at, prim_at[PHASES];
};

static status pool_primitives(struct onednn_exec *exec, struct step *step, struct pool_step *p) {
    const struct shape *x = &exec->shape[step->in[0]], *y = &exec->shape[step->out];
    if (x->rank != 4 || y->rank != 4) return step_mismatch(exec, step, "not a 2-D pooling");
    STATUS_TRY(prim_pool_forward(exec->dnn, x, y, step->op, exec->format[step->in[0]].dtype,
                                 step_trains(exec), &p->forward));
    if (!step_trains(exec) || !exec->wants_grad[step->in[0]]) return SUCCESS;
    return prim_pool_backward(exec->dnn, x, y, step->op, &p->backward);
}

static void pool_destroy(struct step *step) {
    struct pool_step *p = step->state;
    if (!p) return;
    prim_destroy(&p->forward);
    prim_destroy(&p->backward);
    free(p);
}

static status pool_prepare(struct onednn_exec *exec, struct step *step) {
    struct pool_step *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a pooling", sizeof *p);
    step->state = p;
    status error = pool_primitives(exec, step, p);
    if (status_code(error) == STATUS_UNSUPPORTED) {
        status_drop(&error);
        pool_destroy(step);
        step->state = NULL;
        step->kind = &step_portable;
        return step->kind->prepare(exec, step);
    }
    STATUS_TRY(error);
    step->any_format = true;
    step->saved_bytes = prim_bytes(p->forward, PRIM_WORKSPACE);
    p->prim_at[PHASE_FORWARD] =
        step_reserve(&step->scratch_bytes[PHASE_FORWARD], prim_bytes(p->forward, PRIM_SCRATCHPAD));
    if (!p->backward) return SUCCESS;
    size_t *nbytes = &step->scratch_bytes[PHASE_BACKWARD];
    p->prim_at[PHASE_BACKWARD] = step_reserve(nbytes, prim_bytes(p->backward, PRIM_SCRATCHPAD));
    if (step->accumulate[0])
        p->dx_at = step_reserve(nbytes, (size_t)exec->count[step->in[0]] * sizeof(float));
    return SUCCESS;
}

static status pool_forward(struct onednn_exec *exec, struct step *step) {
    struct pool_step *p = step->state;
    prim_set(p->forward, PRIM_SRC, exec->value[step->in[0]]);
    prim_set(p->forward, PRIM_DST, exec->value[step->out]);
    prim_set(p->forward, PRIM_WORKSPACE, step->saved);
    prim_set(p->forward, PRIM_SCRATCHPAD, (char *)step->scratch[PHASE_FORWARD] + p->prim_at[PHASE_FORWARD]);
    return prim_run(exec->dnn, p->forward);
}

static status pool_backward(struct onednn_exec *exec, struct step *step) {
    struct pool_step *p = step->state;
    char *scratch = step->scratch[PHASE_BACKWARD];
    float *dx = exec->grad[step->in[0]];
    if (!p->backward) return SUCCESS;
    float *out = step->accumulate[0] ? (float *)(void *)(scratch + p->dx_at) : dx;
    prim_set(p->backward, PRIM_DIFF_DST, exec->grad[step->out]);
    prim_set(p->backward, PRIM_DIFF_SRC, out);
    prim_set(p->backward, PRIM_WORKSPACE, step->saved);
    prim_set(p->backward, PRIM_SCRATCHPAD, scratch + p->prim_at[PHASE_BACKWARD]);
    STATUS_TRY(prim_run(exec->dnn, p->backward));
    if (out != dx) array_add(exec->count[step->in[0]], exec->options.threads, &CLAMP_NONE, dx, out, dx);
    return SUCCESS;
}

static enum step_formats pool_formats(const struct onednn_exec *exec, const struct step *step) {
    (void)exec, (void)step;
    return STEP_MOVES;
}

const struct step_kind step_pool = {.prepare = pool_prepare,
                                    .forward = pool_forward,
                                    .backward = pool_backward,
                                    .destroy = pool_destroy,
                                    .formats = pool_formats};

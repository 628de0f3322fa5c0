/* Operations that oneDNN would not make faster: computed by the openblas engine's kernels, which are plain
 * parallel loops for all operations but convolutions, dense layers and products. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/kernel.h"

#include <stdlib.h>
#include <string.h>

struct portable {
    struct kernel_env env;
    struct task task;
    float *weights;    /* EXEC_INFER: copies of the parameters, one after the other */
    size_t scratch_at; /* in backward, after the gradients to be added */
    size_t *dx_at;     /* [nin] */
    size_t dw_at[4];   /* of parameters that other steps have too */
};

/* What backward reads. */
static void portable_needs(struct step *step) {
    switch (step->op->kind) {
    case OP_CONCAT:
    case OP_REDUCE:
    case OP_PAD:
    case OP_RESIZE:
    case OP_AFFINE:
    case OP_RESHAPE:
    case OP_SLICE:
    case OP_TRANSPOSE:
    case OP_EMBEDDING:
    case OP_DROPOUT:
        return;
    case OP_ACTIVATION:
    case OP_PRELU:
    case OP_SCALE:
    case OP_LAYER_NORM:
    case OP_BINARY:
    case OP_MATMUL:
        step->needs_in = true;
        return;
    case OP_SOFTMAX:
        step->needs_out = true;
        return;
    default:
        step->needs_in = step->needs_out = true;
    }
}

static status portable_arrays(struct step *step, struct portable *p) {
    const size_t n = (size_t)step->nin;
    struct task *t = &p->task;
    t->in = calloc(n, sizeof *t->in);
    t->x = calloc(n, sizeof *t->x);
    t->dx = calloc(n, sizeof *t->dx);
    p->dx_at = calloc(n, sizeof *p->dx_at);
    return t->in && t->x && t->dx && p->dx_at ? SUCCESS : status_no_memory("an operation", n * sizeof *t->in);
}

/* Shapes of the parameters, and where they are kept in inference. */
static status portable_params(struct onednn_exec *exec, struct step *step, struct portable *p) {
    const struct param *param = exec->graph->param;
    size_t count = 0;
    for (int k = 0; k < 4; k++) {
        const int number = step->op->param[k];
        p->task.param[k].rank = -1;
        if (number < 0) continue;
        p->task.param[k] = param[number].shape;
        count += (size_t)param[number].count;
    }
    if (step_trains(exec) || !count) return SUCCESS;
    return step_alloc(exec, "an operation's parameters", count, sizeof(float), (void **)&p->weights);
}

static bool param_is_shared(const struct onednn_exec *exec, int param) {
    return step_wants_param(exec, param) && exec->param_uses[param] > 1;
}

static status portable_prepare(struct onednn_exec *exec, struct step *step) {
    const struct exec_options *o = &exec->options;
    struct portable *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("an operation", sizeof *p);
    step->state = p;
    STATUS_TRY(portable_arrays(step, p));
    p->env = (struct kernel_env){.batch = o->batch,
                                 .global_batch = exec->global_batch,
                                 .threads = o->threads,
                                 .train = step_trains(exec),
                                 .batch_norm = o->batch_norm,
                                 .sum = o->sum,
                                 .context = o->context,
                                 .seed = o->seed};
    struct task *t = &p->task;
    t->op = step->op;
    t->env = &p->env;
    t->kernel = kernel_of(step->op->kind);
    if (!t->kernel)
        return status_fail(STATUS_UNSUPPORTED, "the onednn engine has no operation %s (node %d)",
                           op_name(step->op->kind), step->op->node);
    for (int i = 0; i < step->nin; i++) t->in[i] = exec->shape[step->in[i]];
    t->out = exec->shape[step->out];
    STATUS_TRY(portable_params(exec, step, p));
    STATUS_TRY(t->kernel->prepare(t));
    step->alias = t->alias;
    step->saved_bytes = t->saved;
    step->scratch_bytes[PHASE_FORWARD] = t->scratch_forward;
    portable_needs(step);
    if (!step_trains(exec)) return SUCCESS;
    size_t *nbytes = &step->scratch_bytes[PHASE_BACKWARD];
    for (int i = 0; i < step->nin; i++)
        if (step->accumulate[i])
            p->dx_at[i] = step_reserve(nbytes, (size_t)exec->count[step->in[i]] * sizeof(float));
    for (int k = 0; k < 4; k++)
        if (param_is_shared(exec, step->op->param[k]))
            p->dw_at[k] = step_reserve(nbytes, (size_t)count_of(&t->param[k]) * sizeof(float));
    p->scratch_at = step_reserve(nbytes, t->scratch_backward);
    return SUCCESS;
}

static status portable_pack(struct onednn_exec *exec, struct step *step) {
    struct portable *p = step->state;
    float *to = p->weights;
    for (int k = 0; k < 4; k++) {
        const int number = step->op->param[k];
        if (number < 0) continue;
        const int64_t count = exec->graph->param[number].count;
        memcpy(to, step_param(exec, number), (size_t)count * sizeof *to);
        p->task.w[k] = to;
        to += count;
    }
    return SUCCESS;
}

static void portable_bind(const struct onednn_exec *exec, const struct step *step, struct portable *p) {
    struct task *t = &p->task;
    for (int i = 0; i < step->nin; i++) t->x[i] = exec->value[step->in[i]];
    t->y = exec->value[step->out];
    t->kept = step->saved;
    for (int k = 0; k < 4 && step_trains(exec); k++) t->w[k] = step_param(exec, step->op->param[k]);
    p->env.step = exec->rng_step;
    p->env.first_sample = exec->first_sample;
}

static status portable_forward(struct onednn_exec *exec, struct step *step) {
    struct portable *p = step->state;
    portable_bind(exec, step, p);
    p->task.scratch = step->scratch[PHASE_FORWARD];
    gemm_alone();
    return p->task.kernel->forward(&p->task);
}

static status portable_backward(struct onednn_exec *exec, struct step *step) {
    struct portable *p = step->state;
    struct task *t = &p->task;
    char *scratch = step->scratch[PHASE_BACKWARD];
    portable_bind(exec, step, p);
    t->scratch = scratch + p->scratch_at;
    t->dy = exec->grad[step->out];
    for (int i = 0; i < step->nin; i++) {
        float *dx = exec->grad[step->in[i]];
        t->dx[i] = dx && step->accumulate[i] ? (float *)(void *)(scratch + p->dx_at[i]) : dx;
    }
    for (int k = 0; k < 4; k++) {
        const int number = step->op->param[k];
        t->dw[k] = !step_wants_param(exec, number) ? NULL
                   : param_is_shared(exec, number) ? (float *)(void *)(scratch + p->dw_at[k])
                                                   : step_param_grad(exec, number);
    }
    gemm_alone();
    STATUS_TRY(t->kernel->backward(t));
    for (int k = 0; k < 4; k++) {
        const int number = step->op->param[k];
        if (!t->dw[k]) continue;
        if (param_is_shared(exec, number))
            memcpy(step_param_grad(exec, number), t->dw[k],
                   (size_t)exec->graph->param[number].count * sizeof(float));
        step_param_done(exec, number);
    }
    for (int i = 0; i < step->nin; i++) {
        float *dx = exec->grad[step->in[i]];
        if (dx && step->accumulate[i])
            array_add(exec->count[step->in[i]], exec->options.threads, &CLAMP_NONE, dx, t->dx[i], dx);
    }
    return SUCCESS;
}

static void portable_destroy(struct step *step) {
    struct portable *p = step->state;
    if (!p) return;
    free(p->task.in);
    free(p->task.x);
    free(p->task.dx);
    free(p->task.plan);
    free(p->dx_at);
    free(p->weights);
    free(p);
}

const struct step_kind step_portable = {.prepare = portable_prepare,
                                        .pack = portable_pack,
                                        .forward = portable_forward,
                                        .backward = portable_backward,
                                        .destroy = portable_destroy};

/* Products of matrices, one for each place along the axes before the last two, by oneDNN's batched kernels.
 * Where it has none for this processor, the portable kernel computes them. */
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>
#include <string.h>

struct matmul_step {
    struct prim *forward, *backward[2]; /* backward: the gradients of A and B; NULL where not wanted */
    size_t scratch_at[2];
};

static void matmul_destroy(struct step *step) {
    struct matmul_step *s = step->state;
    if (!s) return;
    prim_destroy(&s->forward);
    for (int i = 0; i < 2; i++) prim_destroy(&s->backward[i]);
    free(s);
    step->state = NULL;
}

/* False if the shapes are not those of a product. */
static bool shape_of(const struct onednn_exec *exec, const struct step *step, struct matmul_shape *s) {
    const struct shape *a = &exec->shape[step->in[0]], *b = &exec->shape[step->in[1]];
    const struct shape *c = &exec->shape[step->out];
    const int rank = c->rank;
    const bool ta = step->op->u.matmul.transpose_a, tb = step->op->u.matmul.transpose_b;
    if (rank < 3 || a->rank != rank || b->rank != rank) return false;
    *s = (struct matmul_shape){.batch = 1,
                               .m = c->dim[rank - 2],
                               .n = c->dim[rank - 1],
                               .k = a->dim[rank - 1 - ta],
                               .transpose_a = ta,
                               .transpose_b = tb,
                               .scale = step->op->u.matmul.scale};
    for (int i = 0; i < rank - 2; i++) {
        if (a->dim[i] != c->dim[i] || b->dim[i] != c->dim[i]) return false;
        s->batch *= c->dim[i];
    }
    return a->dim[rank - 2 + ta] == s->m && b->dim[rank - 2 + tb] == s->k && b->dim[rank - 1 - tb] == s->n;
}

/* The product that is the gradient of A or B. With C = A B: dA = dC B', dB = A' dC, and their transposes
 * where A or B are transposed. */
static struct matmul_shape gradient_of(const struct matmul_shape *s, int which) {
    const bool ta = s->transpose_a, tb = s->transpose_b;
    struct matmul_shape g = {.batch = s->batch, .scale = s->scale};
    if (which == 0) {
        g.m = ta ? s->k : s->m, g.n = ta ? s->m : s->k, g.k = s->n;
        g.transpose_a = ta ? tb : false, g.transpose_b = ta ? true : !tb;
    } else {
        g.m = tb ? s->n : s->k, g.n = tb ? s->k : s->n, g.k = s->m;
        g.transpose_a = tb ? true : !ta, g.transpose_b = tb ? ta : false;
    }
    return g;
}

static status matmul_create(struct onednn_exec *exec, struct step *step, const struct matmul_shape *shape) {
    struct matmul_step *s = step->state;
    STATUS_TRY(prim_matmul(exec->dnn, shape, &s->forward));
    step->implementation = prim_implementation(s->forward);
    step->scratch_bytes[PHASE_FORWARD] = prim_bytes(s->forward, PRIM_SCRATCHPAD);
    for (int i = 0; i < 2 && step_trains(exec); i++) {
        if (!exec->wants_grad[step->in[i]]) continue;
        struct matmul_shape gradient = gradient_of(shape, i);
        gradient.add = step->accumulate[i];
        STATUS_TRY(prim_matmul(exec->dnn, &gradient, &s->backward[i]));
        s->scratch_at[i] =
            step_reserve(&step->scratch_bytes[PHASE_BACKWARD], prim_bytes(s->backward[i], PRIM_SCRATCHPAD));
    }
    return SUCCESS;
}

static status matmul_prepare(struct onednn_exec *exec, struct step *step) {
    struct matmul_shape shape;
    if (!shape_of(exec, step, &shape)) return step_mismatch(exec, step, "the matrices do not fit");
    struct matmul_step *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("a product", sizeof *s);
    step->state = s;
    step->needs_in = true;
    status error = matmul_create(exec, step, &shape);
    if (status_code(error) != STATUS_UNSUPPORTED) return error;
    status_drop(&error);
    matmul_destroy(step);
    step->implementation = NULL;
    memset(step->scratch_bytes, 0, sizeof step->scratch_bytes);
    step->kind = &step_portable;
    return step->kind->prepare(exec, step);
}

static status run(struct onednn_exec *exec, struct prim *prim, const float *a, const float *b, char *scratch,
                  float *c) {
    prim_set(prim, PRIM_SRC, a);
    prim_set(prim, PRIM_WEIGHTS, b);
    prim_set(prim, PRIM_DST, c);
    prim_set(prim, PRIM_SCRATCHPAD, scratch);
    return prim_run(exec->dnn, prim);
}

static status matmul_forward(struct onednn_exec *exec, struct step *step) {
    const struct matmul_step *s = step->state;
    return run(exec, s->forward, exec->value[step->in[0]], exec->value[step->in[1]],
               step->scratch[PHASE_FORWARD], exec->value[step->out]);
}

static status matmul_backward(struct onednn_exec *exec, struct step *step) {
    const struct matmul_step *s = step->state;
    const float *a = exec->value[step->in[0]], *b = exec->value[step->in[1]], *dc = exec->grad[step->out];
    const bool ta = step->op->u.matmul.transpose_a, tb = step->op->u.matmul.transpose_b;
    char *scratch = step->scratch[PHASE_BACKWARD];
    if (s->backward[0])
        STATUS_TRY(run(exec, s->backward[0], ta ? b : dc, ta ? dc : b,
                       scratch ? scratch + s->scratch_at[0] : NULL, exec->grad[step->in[0]]));
    if (s->backward[1])
        STATUS_TRY(run(exec, s->backward[1], tb ? dc : a, tb ? a : dc,
                       scratch ? scratch + s->scratch_at[1] : NULL, exec->grad[step->in[1]]));
    return SUCCESS;
}

const struct step_kind step_matmul = {.prepare = matmul_prepare,
                                      .forward = matmul_forward,
                                      .backward = matmul_backward,
                                      .destroy = matmul_destroy};

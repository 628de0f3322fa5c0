/* The sum of two values of the same shape, with a following clamping activation fused. Other operations of
 * two values are computed by the portable kernel. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>
#include <string.h>

struct sum_step {
    struct clamp clamp;
    struct columns columns;
};

static status binary_prepare(struct onednn_exec *exec, struct step *step) {
    const int64_t count = exec->count[step->out];
    if (step->op->u.binary.kind != BINARY_ADD || exec->count[step->in[0]] != count ||
        exec->count[step->in[1]] != count) {
        step->kind = &step_portable;
        return step->kind->prepare(exec, step);
    }
    struct sum_step *b = calloc(1, sizeof *b);
    if (!b) return status_no_memory("an operation", sizeof *b);
    step->state = b;
    if (!clamp_of(step->act, &b->clamp)) return step_mismatch(exec, step, "its activation cannot be fused");
    b->columns = columns_make(count, COLUMNS_TILE, exec->options.threads);
    step->inplace = true;
    step->inplace_backward = true;
    step->needs_out = b->clamp.on;
    step->scratch_bytes[PHASE_BACKWARD] = columns_parts(&b->columns) * sizeof(double);
    return SUCCESS;
}

static status binary_forward(struct onednn_exec *exec, struct step *step) {
    const struct sum_step *b = step->state;
    array_add(exec->count[step->out], exec->options.threads, &b->clamp, exec->value[step->in[0]],
              exec->value[step->in[1]], exec->value[step->out]);
    return SUCCESS;
}

static status binary_backward(struct onednn_exec *exec, struct step *step) {
    const struct sum_step *b = step->state;
    const int64_t count = exec->count[step->out];
    float *dy = exec->grad[step->out];
    columns_mask(&b->columns, &b->clamp, exec->value[step->out], dy, step->scratch[PHASE_BACKWARD], NULL);
    for (int i = 0; i < 2; i++) {
        float *dx = exec->grad[step->in[i]];
        if (!dx || dx == dy) continue; /* the first may be dy itself */
        if (step->accumulate[i]) array_add(count, exec->options.threads, &CLAMP_NONE, dx, dy, dx);
        else memcpy(dx, dy, (size_t)count * sizeof *dx);
    }
    return SUCCESS;
}

static enum step_formats binary_formats(const struct onednn_exec *exec, const struct step *step) {
    (void)exec, (void)step;
    return STEP_ANY;
}

const struct step_kind step_binary = {.prepare = binary_prepare,
                                      .forward = binary_forward,
                                      .backward = binary_backward,
                                      .formats = binary_formats};

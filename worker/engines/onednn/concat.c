/* Concatenation in inference, of values stored in any way. In training the portable kernel does it. */
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>
#include <string.h>

struct concat_step {
    int64_t outer;
    size_t row;     /* bytes of the output that lie together */
    size_t piece[]; /* [nin] of these from each input */
};

static size_t bytes_from(const struct onednn_exec *exec, int value, int axis) {
    const struct shape *s = &exec->shape[value];
    size_t n = dtype_size(exec->format[value].dtype);
    for (int i = axis; i < s->rank; i++) n *= (size_t)s->dim[i];
    return n;
}

static status concat_prepare(struct onednn_exec *exec, struct step *step) {
    const int axis = step->op->u.axis.axis;
    const struct shape *y = &exec->shape[step->out];
    if (step_trains(exec)) {
        step->kind = &step_portable;
        return step->kind->prepare(exec, step);
    }
    struct concat_step *c = calloc(1, sizeof *c + (size_t)step->nin * sizeof *c->piece);
    if (!c) return status_no_memory("a concatenation", sizeof *c);
    step->state = c;
    if (axis < 1 || axis >= y->rank) return step_mismatch(exec, step, "the axis is out of range");
    c->outer = 1;
    for (int i = 0; i < axis; i++) c->outer *= y->dim[i];
    for (int k = 0; k < step->nin; k++) {
        struct shape x = exec->shape[step->in[k]];
        if (x.rank != y->rank) return step_mismatch(exec, step, "ranks differ");
        x.dim[axis] = y->dim[axis];
        if (!shape_equal(&x, y)) return step_mismatch(exec, step, "the other axes differ");
        c->piece[k] = bytes_from(exec, step->in[k], axis);
        c->row += c->piece[k];
    }
    if (c->row != bytes_from(exec, step->out, axis))
        return step_mismatch(exec, step, "the axis is not as long as the inputs together");
    step->any_format = true;
    return SUCCESS;
}

static status concat_forward(struct onednn_exec *exec, struct step *step) {
    const struct concat_step *c = step->state;
#pragma omp parallel for num_threads(exec->options.threads)                                                  \
    schedule(static) if (c->outer * (int64_t)c->row > 65536)
    for (int64_t i = 0; i < c->outer; i++) {
        char *y = (char *)exec->value[step->out] + (size_t)i * c->row;
        for (int k = 0; k < step->nin; k++) {
            memcpy(y, (const char *)exec->value[step->in[k]] + (size_t)i * c->piece[k], c->piece[k]);
            y += c->piece[k];
        }
    }
    return SUCCESS;
}

static enum step_formats concat_formats(const struct onednn_exec *exec, const struct step *step) {
    (void)exec, (void)step;
    return STEP_MOVES;
}

const struct step_kind step_concat = {
    .prepare = concat_prepare, .forward = concat_forward, .formats = concat_formats};

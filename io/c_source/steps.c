#include "io/c_source/steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t c_count(const struct opgraph *ops, int value) {
    return shape_sample_count(&ops->value[value]);
}

bool c_step_only_reshapes(const struct c_step *step) {
    return step->op->kind == OP_RESHAPE || step->op->kind == OP_DROPOUT ||
           (step->op->kind == OP_ACTIVATION && step->op->u.act.kind == ACTIVATION_LINEAR);
}

static bool is_output(const struct opgraph *ops, int value) {
    for (int i = 0; i < ops->noutputs; i++)
        if (ops->output[i] == value) return true;
    return false;
}

/* The operation that alone reads a value, if it is of that kind. */
static int follower(const struct opgraph *ops, int value, enum op_kind kind) {
    const int i = is_output(ops, value) ? -1 : opgraph_only_reader(ops, value);
    return i >= 0 && ops->op[i].kind == kind ? i : -1;
}

/* ---- batch norm ---- */

/* A kernel as (before, channels, after): what a factor for each output channel meets. */
static bool kernel_view(const struct opgraph *ops, const struct op *op, int64_t view[3]) {
    if (op->param[0] < 0) return false;
    const struct shape *k = &ops->param[op->param[0]].shape;
    const int64_t *d = k->dim;
    switch (op->kind) {
    case OP_CONV:
        view[0] = d[0] * d[1] * d[2], view[1] = d[3], view[2] = 1;
        return true;
    case OP_DEPTHWISE:
        view[0] = d[0] * d[1], view[1] = d[2] * d[3], view[2] = 1;
        return true;
    case OP_CONV_TRANSPOSE:
        view[0] = d[0] * d[1], view[1] = d[2], view[2] = d[3];
        return true;
    case OP_DENSE:
        view[0] = d[0], view[1] = d[1], view[2] = 1;
        return true;
    default:
        return false;
    }
}

static double param_at(const struct params *params, int param, int64_t i, double absent) {
    return param >= 0 ? (double)params_at(params, param)[i] : absent;
}

/* Puts a batch norm into the kernel and the bias of the step. */
static status fold(const struct params *params, const struct op *norm, const int64_t view[3],
                   struct c_step *step) {
    const int64_t count = view[0] * view[1] * view[2], channels = view[1];
    const float *from = params_at(params, step->op->param[0]);
    step->kernel = malloc((size_t)count * sizeof *step->kernel);
    step->bias = malloc((size_t)channels * sizeof *step->bias);
    if (!step->kernel || !step->bias) return status_no_memory("a kernel", (size_t)count * sizeof *from);
    for (int64_t j = 0; j < channels; j++) {
        const double variance = param_at(params, norm->param[3], j, 1);
        const double scale =
            param_at(params, norm->param[0], j, 1) / sqrt(variance + (double)norm->u.norm.epsilon);
        const double bias =
            param_at(params, step->op->param[1], j, 0) - param_at(params, norm->param[2], j, 0);
        step->bias[j] = (float)(bias * scale + param_at(params, norm->param[1], j, 0));
        for (int64_t i = 0; i < view[0]; i++)
            for (int64_t k = 0; k < view[2]; k++) {
                const int64_t at = (i * channels + j) * view[2] + k;
                step->kernel[at] = (float)((double)from[at] * scale);
            }
    }
    return SUCCESS;
}

/* ---- steps ---- */

/* Can a function of single elements be done with it? */
static bool takes_function(const struct op *op) {
    switch (op->kind) {
    case OP_CONV:
    case OP_DEPTHWISE:
    case OP_CONV_TRANSPOSE:
    case OP_DENSE:
    case OP_BATCH_NORM:
    case OP_SCALE:
    case OP_AFFINE:
    case OP_BINARY:
    case OP_REDUCE:
        return true;
    default:
        return false;
    }
}

static int64_t scratch_of(const struct opgraph *ops, const struct op *op) {
    if (op->kind != OP_RECURRENT) return 0;
    const int64_t units = ops->param[op->param[1]].shape.dim[0];
    const int64_t width = ops->param[op->param[0]].shape.dim[1];
    return 2 * width + 2 * units;
}

static status add_steps(const struct opgraph *ops, const struct params *params, bool *taken,
                        struct c_steps *steps) {
    for (int i = 0; i < ops->nops; i++) {
        const struct op *op = &ops->op[i];
        int64_t view[3];
        if (taken[i]) continue;
        struct c_step *step = &steps->step[steps->n++];
        *step = (struct c_step){.op = op, .out = op->out, .scratch = scratch_of(ops, op)};
        int next = kernel_view(ops, op, view) ? follower(ops, step->out, OP_BATCH_NORM) : -1;
        if (next >= 0) {
            STATUS_TRY(fold(params, &ops->op[next], view, step));
            taken[next] = true;
            step->out = ops->op[next].out;
        }
        next = takes_function(op) ? follower(ops, step->out, OP_ACTIVATION) : -1;
        if (next < 0) continue;
        taken[next] = true;
        step->out = ops->op[next].out;
        step->function = ops->op[next].u.act;
        step->has_function = step->function.kind != ACTIVATION_LINEAR;
    }
    return SUCCESS;
}

status c_steps_create(const struct opgraph *ops, const struct params *params, struct c_steps **steps) {
    struct c_steps *s = calloc(1, sizeof *s);
    bool *taken = calloc((size_t)ops->nops + 1, sizeof *taken);
    status error = SUCCESS;
    if (s) {
        s->ops = ops;
        s->step = calloc((size_t)ops->nops + 1, sizeof *s->step);
        s->place = calloc((size_t)ops->nvalues + 1, sizeof *s->place);
    }
    if (!s || !taken || !s->step || !s->place)
        error = status_no_memory("a program", (size_t)ops->nops * sizeof *s->step);
    if (!error) error = add_steps(ops, params, taken, s);
    free(taken);
    if (error) c_steps_destroy(&s);
    *steps = s;
    return error;
}

void c_steps_destroy(struct c_steps **steps) {
    if (!*steps) return;
    for (int i = 0; i < (*steps)->n && (*steps)->step; i++) {
        free((*steps)->step[i].kernel);
        free((*steps)->step[i].bias);
    }
    free((*steps)->step);
    free((*steps)->place);
    free(*steps);
    *steps = NULL;
}

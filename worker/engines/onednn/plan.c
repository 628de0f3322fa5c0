/* From the operations of the graph to steps: which operations are fused into others, and in what order all
 * run.
 *
 * Inference: PAD + CONV/DEPTHWISE/DENSE + BATCH_NORM or SCALE + addition of another value + activation become
 * one step. Training: PAD + convolution + clamping activation. Both: BATCH_NORM, DENSE or sum + clamping
 * activation. A value is only fused away if nothing else reads it. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"

#include <stdlib.h>
#include <string.h>

struct plan {
    const struct onednn_exec *exec;
    const struct opgraph *graph;
    bool train;
    int *user;   /* [nvalues] the only operation that reads the value; -1: none, several, or an output */
    bool *fused; /* [nops] part of another operation's step */
};

enum { NO_USER = -1, MANY_USERS = -2 };

static status plan_users(struct plan *p) {
    const struct opgraph *g = p->graph;
    p->user = malloc(((size_t)g->nvalues + 1) * sizeof *p->user);
    p->fused = calloc((size_t)g->nops + 1, sizeof *p->fused);
    if (!p->user || !p->fused)
        return status_no_memory("an execution plan", (size_t)g->nvalues * sizeof *p->user);
    for (int v = 0; v < g->nvalues; v++) p->user[v] = NO_USER;
    for (int i = 0; i < g->nops; i++)
        for (int k = 0; k < g->op[i].nin; k++) {
            int *user = &p->user[g->op[i].in[k]];
            *user = *user == NO_USER ? i : MANY_USERS;
        }
    for (int i = 0; i < g->noutputs; i++) p->user[g->output[i]] = MANY_USERS;
    return SUCCESS;
}

/* The only operation that reads `value`, if of that kind and not fused already; else NULL. */
static const struct op *next_op(const struct plan *p, int value, enum op_kind kind, int *index) {
    *index = p->user[value];
    if (*index < 0 || p->fused[*index] || p->graph->op[*index].kind != kind) return NULL;
    return &p->graph->op[*index];
}

static void fuse(struct plan *p, struct step *step, int index) {
    p->fused[index] = true;
    step->out = p->graph->op[index].out;
    step->position = index;
}

static bool is_conv(enum op_kind kind) {
    return kind == OP_CONV || kind == OP_DEPTHWISE;
}

/* A PAD of height and width only, whose only reader is a convolution. */
static bool pad_folds(const struct plan *p, const struct op *pad) {
    if (pad->kind != OP_PAD || p->exec->shape[pad->out].rank != 4) return false;
    const int *before = pad->u.pad.before, *after = pad->u.pad.after;
    if (before[0] || after[0] || before[3] || after[3]) return false;
    int user = p->user[pad->out];
    return user >= 0 && is_conv(p->graph->op[user].kind);
}

static void fuse_pad(const struct plan *p, struct step *step) {
    int i = opgraph_producer(p->graph, step->in[0]);
    if (i < 0 || !pad_folds(p, &p->graph->op[i])) return;
    const struct op *pad = &p->graph->op[i];
    for (int k = 0; k < 2; k++) {
        step->window.before[k] += pad->u.pad.before[1 + k];
        step->window.after[k] += pad->u.pad.after[1 + k];
    }
    step->in[0] = pad->in[0];
}

static void fuse_norm(struct plan *p, struct step *step) {
    int i;
    const struct op *norm = next_op(p, step->out, OP_BATCH_NORM, &i);
    if (!norm) norm = next_op(p, step->out, OP_SCALE, &i);
    if (!norm) return;
    step->norm = norm;
    fuse(p, step, i);
}

/* The addition of another value of the same shape. */
static status fuse_add(struct plan *p, struct step *step) {
    int i;
    const struct op *add = next_op(p, step->out, OP_BINARY, &i);
    if (!add || add->u.binary.kind != BINARY_ADD) return SUCCESS;
    int other = add->in[0] == step->out ? add->in[1] : add->in[0];
    if (!shape_equal(&p->exec->shape[other], &p->exec->shape[step->out])) return SUCCESS;
    int *in = realloc(step->in, ((size_t)step->nin + 1) * sizeof *in);
    if (!in) return status_no_memory("an execution plan", sizeof *in);
    step->in = in;
    step->in[step->nin++] = other;
    step->addend = other;
    fuse(p, step, i);
    return SUCCESS;
}

static void fuse_activation(struct plan *p, struct step *step, bool clamps_only) {
    int i;
    struct clamp clamp;
    const struct op *act = next_op(p, step->out, OP_ACTIVATION, &i);
    if (!act || act->u.act.kind == ACTIVATION_LINEAR) return;
    if (clamps_only && !clamp_of(act, &clamp)) return;
    if (is_conv(step->op->kind) && !prim_activation_known(act)) return;
    step->act = act;
    fuse(p, step, i);
}

static bool is_plain_add(const struct plan *p, const struct op *op) {
    const struct shape *out = &p->exec->shape[op->out];
    return op->kind == OP_BINARY && op->u.binary.kind == BINARY_ADD &&
           shape_equal(&p->exec->shape[op->in[0]], out) && shape_equal(&p->exec->shape[op->in[1]], out);
}

static status plan_step(struct plan *p, int index, struct step *step) {
    const struct op *op = &p->graph->op[index];
    *step = (struct step){.op = op, .addend = -1, .nin = op->nin, .out = op->out, .position = index};
    step->in = malloc((size_t)op->nin * sizeof *step->in);
    if (!step->in) return status_no_memory("an execution plan", (size_t)op->nin * sizeof *step->in);
    memcpy(step->in, op->in, (size_t)op->nin * sizeof *step->in);
    step->kind = step_kind_of(op->kind);
    if (op->kind == OP_DROPOUT && !p->train) step->kind = &step_alias;
    if (!step->kind)
        return status_fail(STATUS_UNSUPPORTED, "the onednn engine cannot compute %s; use the openblas engine",
                           op_name(op->kind));
    if (is_conv(op->kind)) {
        step->window = op->u.conv.window;
        fuse_pad(p, step);
    }
    const bool weighted = is_conv(op->kind) || op->kind == OP_DENSE;
    if (weighted && !p->train) fuse_norm(p, step);
    if (is_conv(op->kind) && !p->train) STATUS_TRY(fuse_add(p, step));
    const bool clamps = op->kind == OP_BATCH_NORM || is_plain_add(p, op);
    if (weighted || clamps) fuse_activation(p, step, p->train || !is_conv(op->kind));
    return SUCCESS;
}

static int compare_position(const void *a, const void *b) {
    int x = ((const struct step *)a)->position, y = ((const struct step *)b)->position;
    return (x > y) - (x < y);
}

static status plan_all(struct plan *p, struct onednn_exec *exec) {
    STATUS_TRY(plan_users(p));
    for (int i = 0; i < p->graph->nops; i++) {
        if (p->fused[i] || pad_folds(p, &p->graph->op[i])) continue;
        STATUS_TRY(plan_step(p, i, &exec->step[exec->nsteps++]));
    }
    qsort(exec->step, (size_t)exec->nsteps, sizeof *exec->step, compare_position);
    return SUCCESS;
}

status plan_steps(struct onednn_exec *exec) {
    struct plan p = {.exec = exec, .graph = exec->graph, .train = step_trains(exec)};
    exec->step = calloc((size_t)exec->graph->nops + 1, sizeof *exec->step);
    if (!exec->step)
        return status_no_memory("an execution plan", (size_t)exec->graph->nops * sizeof *exec->step);
    status error = plan_all(&p, exec);
    free(p.user);
    free(p.fused);
    return error;
}

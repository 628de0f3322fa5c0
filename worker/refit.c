#include "worker/refit.h"
#include "worker/activations.h"
#include "worker/fit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The statement that refits this operation's kernel, or NULL. */
static struct plan_statement *refit_statement(const struct refit *r, const struct op *op) {
    if (!patches_known(op)) return NULL;
    const struct param *p = &r->target->param[op->param[0]];
    struct plan_statement *s = plan_find(r->plan, p->layer, p->weight);
    return s && plan_is_refit(s) ? s : NULL;
}

/* The source's output channels that the target's operation has; NULL with SUCCESS: all of them. Owned. */
static status kept_outputs(const struct refit *r, const struct op *op, const struct plan_statement *s,
                           int64_t **column) {
    const struct weight *w = &r->plan->target->layer[s->layer].weight[s->weight];
    bool depthwise = op->kind == OP_DEPTHWISE;
    int axis = depthwise ? w->in_axis : w->out_axis;
    int64_t *channel = NULL;
    *column = NULL;
    if (axis < 0) return SUCCESS;
    STATUS_TRY(plan_positions(r->plan, s, axis, &channel));
    const struct shape *wide = &r->source->value[op->out], *narrow = &r->target->value[op->out];
    if (!channel && wide->dim[wide->rank - 1] != narrow->dim[narrow->rank - 1])
        return status_fail(STATUS_DATA, "the program does not say which of the source's channels it has");
    if (!channel || !depthwise) {
        *column = channel;
        return SUCCESS;
    }
    int64_t n = s->shape.dim[axis], each = s->shape.dim[s->shape.rank - 1];
    int64_t *c = malloc((size_t)(n * each + 1) * sizeof *c);
    if (c)
        for (int64_t i = 0; i < n * each; i++) c[i] = channel[i / each] * each + i % each;
    free(channel);
    *column = c;
    return c ? SUCCESS : status_no_memory("a keep list", (size_t)(n * each) * sizeof *c);
}

/* Does a ReLU, and nothing else, read the operation's output? */
static bool relu_follows(const struct opgraph *g, int value, float *maximum) {
    const struct op *reader = NULL;
    int readers = 0;
    for (int i = 0; i < g->nops; i++)
        for (int j = 0; j < g->op[i].nin; j++)
            if (g->op[i].in[j] == value) {
                reader = &g->op[i];
                readers++;
            }
    if (readers != 1 || reader->kind != OP_ACTIVATION || reader->u.act.kind != ACTIVATION_RELU) return false;
    *maximum = reader->u.act.beta;
    return reader->u.act.alpha == 0 && reader->u.act.gamma == 0;
}

static status refit_one(const struct machine *machine, const struct refit *r, int index,
                        struct plan_statement *s, struct activations *source, struct activations *target) {
    const struct op *op = &r->target->op[index];
    struct fit_options options = {
        .ridge = r->config->ridge, .relu_rounds = r->config->relu_rounds, .maximum = INFINITY};
    options.relu = relu_follows(r->target, op->out, &options.maximum);
    const struct shape *wide = &r->source->value[op->out];
    float *y = NULL;
    int64_t *column = NULL;
    struct fit_result result = {0};
    status error = activations_advance(target, index);
    if (!error) error = activations_advance(source, index);
    if (!error) error = activations_compute(source, op->out, &y);
    if (!error) error = kept_outputs(r, op, s, &column);
    error = comm_agree(machine->world, error);
    if (!error) {
        struct fit_data data = {.n = r->calibration->n,
                                .block = CALIBRATION_BLOCK,
                                .x = activations_at(target, op->in[0]),
                                .y = y,
                                .width = wide->dim[wide->rank - 1],
                                .column = column};
        float *bias = op->param[1] >= 0 ? params_at(r->target_params, op->param[1]) : NULL;
        error = fit_operation(machine, r->target, op, &data, &options,
                              params_at(r->target_params, op->param[0]), bias, &result);
    }
    free(y);
    free(column);
    const struct layer *layer = &r->plan->target->layer[s->layer];
    if (error) return status_context(error, "refit of \"%s\"", layer->name);
    s->residual = result.after;
    log_line(machine->log, LOG_DEBUG, "refit %s/%s: residual %.4f -> %.4f", layer->name,
             layer->weight[s->weight].name, result.before, result.after);
    LOG_EVENT(machine->log, "refit", {"layer", 0, layer->name}, {"before", result.before, NULL},
              {"after", result.after, NULL});
    return SUCCESS;
}

static status check_same_operations(const struct refit *r) {
    if (r->source->nops == r->target->nops && r->source->nvalues == r->target->nvalues) return SUCCESS;
    return status_fail(STATUS_INTERNAL, "source and target have different operations");
}

status refit(const struct machine *machine, const struct refit *r) {
    struct activations *source = NULL, *target = NULL;
    const struct calibration *c = r->calibration;
    bool *done = calloc((size_t)r->target->nparams + 1, 1);
    status error = done ? check_same_operations(r) : status_no_memory("a refit", (size_t)r->target->nparams);
    if (!error)
        error =
            activations_create(machine, r->source, r->source_params, c->x, c->n, CALIBRATION_BLOCK, &source);
    if (!error)
        error =
            activations_create(machine, r->target, r->target_params, c->x, c->n, CALIBRATION_BLOCK, &target);
    error = comm_agree(machine->world, error);
    log_progress_begin(machine->log, "refit", "operations", r->target->nops);
    for (int i = 0; i < r->target->nops && !error; i++) {
        const struct op *op = &r->target->op[i];
        struct plan_statement *s = refit_statement(r, op);
        if (!s || done[op->param[0]]) continue;
        error = refit_one(machine, r, i, s, source, target);
        done[op->param[0]] = true;
        log_progress(machine->log, i + 1, r->plan->target->layer[s->layer].name);
    }
    log_progress_end(machine->log);
    activations_destroy(&source);
    activations_destroy(&target);
    free(done);
    return error;
}

#include "worker/refit.h"
#include "worker/activations.h"
#include "worker/descent.h"
#include "worker/factor.h"
#include "worker/fit.h"
#include "worker/grid.h"

#include <stdlib.h>
#include <string.h>

#define FIT_ROWS 65536     /* of patches that a fit is made from, or more if the patches are large */
#define DESCENT_ROWS 16384 /* the same for the directions of a descent */
#define DESCENT_STEPS 8

/* One pass over the layers. */
struct pass {
    const struct machine *machine;
    const struct refit *r;
    int64_t number;                      /* 0: the first, towards each layer's own outputs */
    struct activations *source, *target; /* at the operation that is fitted */
};

/* The operation that alone reads this one's output, with no other between, and gives what the source has:
 * then this one, whose output the source does not have, is the first of two factors. -1: there is none. */
static int second_factor(const struct refit *r, const struct op *op) {
    int reader = -1, readers = 0;
    for (int i = 0; i < r->target->nops; i++)
        for (int j = 0; j < r->target->op[i].nin; j++)
            if (r->target->op[i].in[j] == op->out) {
                reader = i;
                readers++;
            }
    if (readers != 1 || r->source_value[op->out] >= 0) return -1;
    const struct op *second = &r->target->op[reader];
    bool plain = patches_known(second) && second->kind == op->kind && second->param[0] != op->param[0];
    return plain && r->source_value[second->out] >= 0 ? reader : -1;
}

/* The statement that refits this operation's kernel, or NULL. */
static struct plan_statement *refit_statement(const struct refit *r, const struct op *op) {
    if (!patches_known(op)) return NULL;
    const struct param *p = &r->target->param[op->param[0]];
    struct plan_statement *s = plan_find(r->plan, p->layer, p->weight);
    return s && plan_is_refit(s) && (r->source_value[op->out] >= 0 || second_factor(r, op) >= 0) ? s : NULL;
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
    const struct shape *wide = &r->source->value[r->source_value[op->out]],
                       *narrow = &r->target->value[op->out];
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

/* The addition that alone reads the operation's output and whose other operand comes before the operation; or
 * NULL. There the sum is what is to be right. */
static const struct op *sum_of(const struct opgraph *g, int index, int *other) {
    const struct op *sum = NULL;
    int value = g->op[index].out, readers = 0;
    for (int i = 0; i < g->nops; i++)
        for (int j = 0; j < g->op[i].nin; j++)
            if (g->op[i].in[j] == value) {
                sum = &g->op[i];
                readers++;
            }
    if (readers != 1 || sum->kind != OP_BINARY || sum->u.binary.kind != BINARY_ADD) return NULL;
    *other = sum->in[sum->in[0] == value];
    bool alike = shape_equal(&g->value[*other], &g->value[value]);
    return alike && opgraph_producer(g, *other) < index ? sum : NULL;
}

static int64_t width_of(const struct opgraph *g, int value) {
    return g->value[value].dim[g->value[value].rank - 1];
}

/* ---- fits ---- */

/* What call `index` of a layer sees, and what it is to give. `inputs` and `outputs` are the parts that the
 * call owns. */
static status prepare_call(const struct pass *p, int index, bool alone, const int64_t *column,
                           struct fit_call *call, float **inputs, float **outputs) {
    const struct opgraph *g = p->r->target;
    const struct op *op = &g->op[index];
    int other = -1, wanted = op->out;
    const struct op *sum = alone ? sum_of(g, index, &other) : NULL;
    if (sum && p->r->source_value[sum->out] < 0) sum = NULL;
    if (sum) wanted = sum->out;
    STATUS_TRY(activations_compute(p->source, p->r->source_value[wanted], outputs));
    *call = (struct fit_call){.op = op,
                              .x = activations_at(p->target, op->in[0]),
                              .y = *outputs,
                              .width = width_of(p->r->source, p->r->source_value[wanted]),
                              .outcome = outcome_of(g, wanted)};
    if (!call->x) {
        STATUS_TRY(activations_compute(p->target, op->in[0], inputs));
        call->x = *inputs;
    }
    if (!sum) return SUCCESS;
    const float *from = activations_at(p->target, other);
    int64_t m = width_of(g, other), rows = p->r->calibration->n * shape_sample_count(&g->value[other]) / m;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < m; j++)
            (*outputs)[i * call->width + (column ? column[j] : j)] -= from[i * m + j];
    return SUCCESS;
}

static void report_fit(const struct pass *p, const struct plan_statement *s, const char *what, double before,
                       double after) {
    struct log *log = p->machine->log;
    const struct layer *layer = &p->r->plan->target->layer[s->layer];
    log_line(log, LOG_DEBUG, "%s %s/%s: residual %.4f -> %.4f", what, layer->name,
             layer->weight[s->weight].name, before, after);
    LOG_EVENT(log, "refit", {"layer", 0, layer->name}, {"before", before, NULL}, {"after", after, NULL});
}

static status fit_calls(const struct pass *p, const struct plan_statement *s, int ncalls, const int *calls,
                        struct fit_result *result) {
    const struct refit *r = p->r;
    const struct op *op = &r->target->op[calls[0]];
    const struct calibration *c = r->calibration;
    struct fit_options options = {
        .ridge = r->config->ridge, .rounds = r->config->relu_rounds, .rows = FIT_ROWS};
    struct fit_call *call = calloc((size_t)ncalls, sizeof *call);
    float **part = calloc(2 * (size_t)ncalls, sizeof *part);
    int64_t *column = NULL;
    status error = call && part ? kept_outputs(r, op, s, &column) : status_no_memory("a refit", 0);
    for (int i = 0; i < ncalls && !error; i++)
        error = prepare_call(p, calls[i], ncalls == 1, column, &call[i], &part[2 * i], &part[2 * i + 1]);
    error = comm_agree(p->machine->world, error);
    if (!error) {
        struct fit_data data = {.ncalls = ncalls,
                                .call = call,
                                .column = column,
                                .n = c->n,
                                .total = c->total,
                                .block = CALIBRATION_BLOCK,
                                .first = c->first,
                                .held = calibration_held(c)};
        float *bias = op->param[1] >= 0 ? params_at(r->target_params, op->param[1]) : NULL;
        error = fit_operation(p->machine, r->target, &data, &options,
                              params_at(r->target_params, op->param[0]), bias, result);
    }
    for (int i = 0; part && i < 2 * ncalls; i++) free(part[i]);
    free(part);
    free(call);
    free(column);
    return error;
}

static status fit_layer(const struct pass *p, int index, struct plan_statement *s) {
    const struct opgraph *g = p->r->target;
    int ncalls = 0, *calls = malloc((size_t)g->nops * sizeof *calls);
    struct fit_result result = {0};
    status error = comm_agree(p->machine->world, calls ? SUCCESS : status_no_memory("a refit", 0));
    for (int i = index; i < g->nops && !error; i++)
        if (patches_known(&g->op[i]) && g->op[i].param[0] == g->op[index].param[0]) calls[ncalls++] = i;
    if (!error) error = fit_calls(p, s, ncalls, calls, &result);
    free(calls);
    if (error) return error;
    if (p->number == 0) s->residual = result.after;
    report_fit(p, s, "refit", result.before, result.after);
    const char *layer = p->r->plan->target->layer[s->layer].name;
    if (result.dropped)
        log_line(p->machine->log, LOG_INFO,
                 "refit of \"%s\": %lld directions of its inputs depend on the others and are left out",
                 layer, (long long)result.dropped);
    if (result.kept)
        log_line(p->machine->log, LOG_INFO,
                 "refit of \"%s\": the migrated weights are better on held-out samples and are kept", layer);
    return SUCCESS;
}

/* The first of two factors, towards the source's outputs of the second. */
static status fit_factor(const struct pass *p, int index, int second, struct plan_statement *s) {
    const struct refit *r = p->r;
    const struct op *left = &r->target->op[index], *right = &r->target->op[second];
    const struct calibration *c = r->calibration;
    struct fit_options options = {.ridge = r->config->ridge, .rows = FIT_ROWS};
    struct fit_result result = {0};
    float *inputs = NULL, *outputs = NULL;
    int64_t *column = NULL;
    int value = r->source_value[right->out];
    status error = kept_outputs(r, right, refit_statement(r, right), &column);
    if (!error) error = activations_compute(p->source, value, &outputs);
    struct fit_call call = {.op = left,
                            .x = activations_at(p->target, left->in[0]),
                            .y = outputs,
                            .width = width_of(r->source, value)};
    if (!error && !call.x) error = activations_compute(p->target, left->in[0], &inputs);
    if (!call.x) call.x = inputs;
    error = comm_agree(p->machine->world, error);
    if (!error) {
        struct fit_data data = {.ncalls = 1,
                                .call = &call,
                                .column = column,
                                .n = c->n,
                                .total = c->total,
                                .block = CALIBRATION_BLOCK,
                                .first = c->first,
                                .held = calibration_held(c)};
        error = factor_fit(p->machine, r->target, &data, width_of(r->target, right->out), &options,
                           params_at(r->target_params, left->param[0]),
                           params_at(r->target_params, right->param[0]), &result);
    }
    free(inputs);
    free(outputs);
    free(column);
    if (error) return error;
    if (p->number == 0) s->residual = result.after;
    report_fit(p, s, "refit", result.before, result.after);
    return SUCCESS;
}

/* ---- descents ---- */

static status add_output(const struct pass *p, int value, const struct op *maker, struct descent *d,
                         struct descent_output *output) {
    const struct refit *r = p->r;
    float *y = NULL;
    int64_t *column = NULL;
    if (r->source_value[value] < 0) return SUCCESS;
    for (int i = 0; i < d->noutputs; i++)
        if (output[i].value == value) return SUCCESS;
    STATUS_TRY(activations_compute(p->source, r->source_value[value], &y));
    status error = maker ? kept_outputs(r, maker, refit_statement(r, maker), &column) : SUCCESS;
    output[d->noutputs++] = (struct descent_output){.value = value,
                                                    .y = y,
                                                    .width = width_of(r->source, r->source_value[value]),
                                                    .column = column,
                                                    .outcome = outcome_of(r->target, value)};
    return error;
}

/* The outputs of the next weighted operations, or the sums they are part of, and those of the model that are
 * reached without any. */
static status next_outputs(const struct pass *p, int index, struct descent *d,
                           struct descent_output *output) {
    const struct opgraph *g = p->r->target;
    bool *reached = calloc((size_t)g->nvalues + 1, 1);
    if (!reached) return status_no_memory("a refit", (size_t)g->nvalues);
    status error = SUCCESS;
    reached[g->op[index].out] = true;
    for (int i = index + 1; i < g->nops && !error; i++) {
        const struct op *op = &g->op[i];
        bool read = false;
        for (int j = 0; j < op->nin; j++) read = read || reached[op->in[j]];
        if (!read) continue;
        if (!refit_statement(p->r, op)) {
            reached[op->out] = true;
            continue;
        }
        int other;
        const struct op *sum = sum_of(g, i, &other);
        if (sum && p->r->source_value[sum->out] < 0) sum = NULL;
        error = add_output(p, sum ? sum->out : op->out, op, d, output);
    }
    for (int i = 0; i < g->noutputs && !error; i++) {
        int value = opgraph_before_softmax(g, g->output[i]);
        if (reached[g->output[i]] && value != g->op[index].out) error = add_output(p, value, NULL, d, output);
    }
    free(reached);
    return error;
}

/* False in *possible: nothing comes after the layer, or it cannot be differentiated. */
static status descend(const struct pass *p, int index, struct plan_statement *s, bool *possible) {
    const struct refit *r = p->r;
    const struct calibration *c = r->calibration;
    struct descent_output *output = calloc((size_t)r->target->nops + 1, sizeof *output);
    struct descent d = {.graph = r->target,
                        .params = r->target_params,
                        .op = index,
                        .inputs = p->target,
                        .output = output,
                        .n = c->n,
                        .total = c->total,
                        .block = CALIBRATION_BLOCK,
                        .first = c->first,
                        .held = calibration_held(c),
                        .rows = DESCENT_ROWS,
                        .steps = DESCENT_STEPS};
    struct descent_result result = {0};
    status error = output ? next_outputs(p, index, &d, output) : status_no_memory("a refit", 0);
    error = comm_agree(p->machine->world, error);
    if (!error && d.noutputs) error = descent_run(p->machine, &d, &result);
    for (int i = 0; i < d.noutputs; i++) {
        free((float *)output[i].y);
        free((int64_t *)output[i].column);
    }
    free(output);
    *possible = result.possible;
    if (!error && result.possible) report_fit(p, s, "outputs after", result.before, result.after);
    return error;
}

/* ---- passes ---- */

/* The first operation of the source that makes something of what the target's operations from `index` on
 * give. */
static int source_frontier(const struct refit *r, int index) {
    int first = r->source->nops;
    for (int i = index; i < r->target->nops; i++) {
        int value = r->source_value[r->target->op[i].out],
            maker = value < 0 ? first : opgraph_producer(r->source, value);
        if (maker < first) first = maker;
    }
    return first < 0 ? 0 : first;
}

static status visit(const struct pass *p, int index, struct plan_statement *s) {
    bool possible = false;
    status error = activations_advance(p->target, index);
    if (!error) error = activations_advance(p->source, source_frontier(p->r, index));
    error = comm_agree(p->machine->world, error);
    if (!error && p->number > 0) error = descend(p, index, s, &possible);
    int second = second_factor(p->r, &p->r->target->op[index]);
    if (!error && !possible && second >= 0) error = p->number ? SUCCESS : fit_factor(p, index, second, s);
    else if (!error && !possible) error = fit_layer(p, index, s);
    const char *layer = p->r->plan->target->layer[s->layer].name;
    return error ? status_context(error, "refit of \"%s\"", layer) : SUCCESS;
}

static status open_pass(struct pass *p) {
    const struct refit *r = p->r;
    const struct calibration *c = r->calibration;
    STATUS_TRY(activations_create(p->machine, r->source, r->source_params, c->x, c->n, CALIBRATION_BLOCK,
                                  &p->source));
    return activations_create(p->machine, r->target, r->target_params, c->x, c->n, CALIBRATION_BLOCK,
                              &p->target);
}

static void close_pass(struct pass *p) {
    activations_destroy(&p->source);
    activations_destroy(&p->target);
}

static status run_pass(const struct machine *machine, const struct refit *r, int64_t number) {
    struct pass p = {.machine = machine, .r = r, .number = number};
    bool *done = calloc((size_t)r->target->nparams + 1, 1);
    status error = done ? open_pass(&p) : status_no_memory("a refit", (size_t)r->target->nparams);
    error = comm_agree(machine->world, error);
    for (int i = 0; i < r->target->nops && !error; i++) {
        const struct op *op = &r->target->op[i];
        struct plan_statement *s = refit_statement(r, op);
        if (!s || done[op->param[0]]) continue;
        error = visit(&p, i, s);
        done[op->param[0]] = true;
        log_progress(machine->log, (double)(number * r->target->nops + i + 1),
                     r->plan->target->layer[s->layer].name);
    }
    close_pass(&p);
    free(done);
    return error;
}

/* Error of the target's outputs, on held-out samples if there are any, relative to their size. */
static status held_out_error(const struct machine *machine, const struct refit *r, double *error) {
    struct pass p = {.machine = machine, .r = r};
    const struct calibration *c = r->calibration;
    const struct opgraph *g = r->target;
    int64_t held = calibration_held(c);
    double sum[2] = {0, 0};
    status failed = open_pass(&p);
    for (int i = 0; i < g->noutputs && !failed; i++) {
        int value = opgraph_before_softmax(g, g->output[i]);
        int64_t m = width_of(g, value), floats = shape_sample_count(&g->value[value]);
        struct outcome outcome = outcome_of(g, value);
        float *y = NULL, *found = NULL;
        if (r->source_value[value] < 0) continue;
        failed = activations_compute(p.source, r->source_value[value], &y);
        if (!failed) failed = activations_compute(p.target, value, &found);
        for (int64_t s = 0; s < c->n && !failed; s++)
            if (!held || block_held(c->first + s / CALIBRATION_BLOCK, held))
                outcome_compare(&outcome, floats / m, m, false, y + s * floats, found + s * floats, sum);
        free(y);
        free(found);
    }
    close_pass(&p);
    STATUS_TRY(comm_agree(machine->world, failed));
    STATUS_TRY(comm_sum_f64(machine->world, sum, 2));
    *error = sum[1] > 0 ? grid_coarse(sum[0] / sum[1]) : 0;
    return SUCCESS;
}

/* Sweeps go on while they make the target better on held-out samples; what makes it worse is taken back. */
static status sweep(const struct machine *machine, const struct refit *r) {
    struct params *past = NULL;
    double before = 0, after = 0;
    status error = comm_agree(machine->world, params_clone(r->target_params, &past));
    if (!error) error = held_out_error(machine, r, &before);
    for (int64_t number = 1; number <= r->config->sweeps && !error; number++) {
        error = run_pass(machine, r, number);
        if (!error) error = held_out_error(machine, r, &after);
        if (error) break;
        log_line(machine->log, LOG_DEBUG, "sweep %lld: error of the outputs %.4f -> %.4f", (long long)number,
                 before, after);
        if (!(after < before)) {
            memcpy(r->target_params->data, past->data, (size_t)past->total * sizeof(float));
            break;
        }
        before = after;
        memcpy(past->data, r->target_params->data, (size_t)past->total * sizeof(float));
    }
    params_destroy(&past);
    return error;
}

status refit(const struct machine *machine, const struct refit *r) {
    log_progress_begin(machine->log, "refit", "operations",
                       (double)((1 + r->config->sweeps) * r->target->nops));
    status error = run_pass(machine, r, 0);
    if (!error && r->config->sweeps) error = sweep(machine, r);
    log_progress_end(machine->log);
    return error;
}

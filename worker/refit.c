#include "worker/refit.h"
#include "worker/fit.h"
#include "worker/grid.h"
#include "worker/outcome.h"
#include "worker/refit_pass.h"

#include "shared/interrupt.h"

#include <stdlib.h>
#include <string.h>

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
    const struct op *op = &p->r->target->op[index];
    if (op->kind == OP_RECURRENT) {
        if (!error && !p->number && refit_known(p->r, op)) error = refit_recurrent(p, index, s);
        return status_context(error, "refit of \"%s\"", p->r->plan->target->layer[s->layer].name);
    }
    if (!error && p->number > 0) error = refit_descend(p, index, s, &possible);
    int second = refit_second(p->r, &p->r->target->op[index]);
    if (!error && !possible && second >= 0) error = p->number ? SUCCESS : refit_factor(p, index, second, s);
    else if (!error && !possible && p->r->source_value[p->r->target->op[index].out] >= 0)
        error = refit_fit(p, index, s);
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

/* Is the statement's layer to be fitted in this pass? */
static bool is_due(const struct refit *r, const struct plan_statement *s, int64_t number) {
    if (!r->due) return true;
    signed char due = r->due[s - r->plan->statement];
    return due >= 0 && number >= due;
}

static status check_stop(const struct machine *machine, const struct refit *r) {
    bool stop = false;
    if (!r->stops) return SUCCESS;
    STATUS_TRY(comm_any(machine->world, interrupt_requested(), &stop));
    return stop ? status_fail(STATUS_CHECKPOINTED,
                              "stopped by SIGTERM in the refit; run the same command again to begin it anew")
                : SUCCESS;
}

static status run_pass(const struct machine *machine, const struct refit *r, int64_t number) {
    struct pass p = {.machine = machine, .r = r, .number = number};
    bool *done = calloc((size_t)r->target->nparams + 1, 1);
    status error = done ? open_pass(&p) : status_no_memory("a refit", (size_t)r->target->nparams);
    error = comm_agree(machine->world, error);
    for (int i = 0; i < r->target->nops && !error; i++) {
        const struct op *op = &r->target->op[i];
        struct plan_statement *s = refit_statement(r, op);
        if (!s || done[op->param[0]] || !is_due(r, s, number)) continue;
        double begin = comm_time();
        error = check_stop(machine, r);
        if (!error) error = visit(&p, i, s);
        machine_span(machine, TRACE_COMPUTE, number ? "sweep" : "refit layer", s->slice, i, begin);
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
        int64_t m = refit_width(g, value), floats = shape_sample_count(&g->value[value]);
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

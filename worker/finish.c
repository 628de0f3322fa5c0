#include "worker/finish_statement.h"

#include "shared/rounding.h"
#include "shared/transform.h"

#include <stdlib.h>
#include <string.h>

bool plan_finishes(const struct plan *plan) {
    for (int i = 0; i < plan->nstatements; i++)
        if (plan_start(&plan->statement[i]) != plan->statement[i].value) return true;
    return false;
}

const struct expr *finish_gptq_of(const struct plan_statement *s) {
    for (const struct expr *e = s->value; e->transform->finishes; e = e->arg[0])
        if (rounding_minds_inputs(e)) return e;
    return NULL;
}

int finish_param(const struct plan *plan, const struct plan_statement *s) {
    return graph_first_param(plan->target, s->layer) + s->weight;
}

status finish_value(struct evaluation *evaluation, const struct expr *expr, const struct expr *inner,
                    const float *values, float *out) {
    int64_t rows, columns;
    shape_rows(&expr->shape, &rows, &columns);
    evaluation_replace(evaluation, inner, values);
    status error = evaluation_rows(evaluation, expr, 0, rows, out);
    evaluation_forget(evaluation);
    return error;
}

static status finish_statement(struct evaluation *evaluation, const struct finish *f,
                               const struct plan_statement *s) {
    int p = finish_param(f->plan, s);
    float *made = NULL, *values = params_at(f->params, p);
    size_t count = (size_t)f->params->count[p];
    STATUS_TRY(memory_alloc("a tensor", count, sizeof *made, (void **)&made));
    status error = finish_value(evaluation, s->value, plan_start(s), values, made);
    if (!error) memcpy(values, made, count * sizeof *made);
    free(made);
    return error;
}

/* Those of which `pending` is `which`. */
static status finish_statements(struct evaluation *evaluation, const struct finish *f, const bool *pending,
                                bool which) {
    for (int i = 0; i < f->plan->nstatements; i++) {
        const struct plan_statement *s = &f->plan->statement[i];
        if (plan_start(s) != s->value && pending[i] == which) STATUS_TRY(finish_statement(evaluation, f, s));
    }
    return SUCCESS;
}

/* What gptq is asked for and is not done. */
static void report_nearest(const struct machine *machine, const struct finish *f, const bool *pending) {
    const char *first = NULL;
    int n = 0;
    for (int i = 0; i < f->plan->nstatements; i++) {
        if (!pending[i]) continue;
        if (!first) first = f->plan->target->layer[f->plan->statement[i].layer].name;
        n++;
    }
    if (n && !f->calibration->total)
        log_line(machine->log, LOG_INFO,
                 "there are no calibration samples (refit.samples): %d kernels are rounded to the nearest "
                 "instead of by gptq",
                 n);
    else if (n)
        log_line(
            machine->log, LOG_INFO,
            "%d tensors are rounded to the nearest instead of by gptq, that of \"%s\" first: there is no "
            "Gram matrix of their inputs",
            n, first);
}

static status run(const struct machine *machine, const struct finish *f, struct evaluation *evaluation,
                  bool *pending) {
    for (int i = 0; i < f->plan->nstatements; i++)
        pending[i] = finish_gptq_of(&f->plan->statement[i]) != NULL;
    STATUS_TRY(comm_agree(machine->world, finish_statements(evaluation, f, pending, false)));
    if (f->calibration->total) STATUS_TRY(finish_gptq(machine, f, evaluation, pending));
    report_nearest(machine, f, pending);
    return comm_agree(machine->world, finish_statements(evaluation, f, pending, true));
}

status finish(const struct machine *machine, const struct finish *f) {
    struct evaluation *evaluation = NULL;
    bool *pending = calloc((size_t)f->plan->nstatements + 1, sizeof *pending);
    status error = pending ? evaluation_create(f->plan, &(struct evaluation_sources){0}, &evaluation)
                           : status_no_memory("statements", (size_t)f->plan->nstatements);
    error = comm_agree(machine->world, error);
    if (!error) error = run(machine, f, evaluation, pending);
    evaluation_destroy(&evaluation);
    free(pending);
    return error;
}

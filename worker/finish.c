#include "worker/finish.h"

#include "shared/evaluation.h"

#include <stdlib.h>
#include <string.h>

bool plan_finishes(const struct plan *plan) {
    for (int i = 0; i < plan->nstatements; i++)
        if (plan_start(&plan->statement[i]) != plan->statement[i].value) return true;
    return false;
}

static status finish_statement(struct evaluation *evaluation, const struct plan *plan,
                               const struct plan_statement *s, struct params *params) {
    int p = graph_first_param(plan->target, s->layer) + s->weight;
    int64_t rows, columns;
    float *made = NULL;
    shape_rows(&s->shape, &rows, &columns);
    STATUS_TRY(memory_alloc("a tensor", (size_t)params->count[p], sizeof *made, (void **)&made));
    evaluation_replace(evaluation, plan_start(s), params_at(params, p));
    status error = evaluation_rows(evaluation, s->value, 0, rows, made);
    if (!error) memcpy(params_at(params, p), made, (size_t)params->count[p] * sizeof *made);
    evaluation_forget(evaluation);
    free(made);
    return error;
}

status finish_params(const struct plan *plan, struct params *params) {
    struct evaluation *evaluation = NULL;
    STATUS_TRY(evaluation_create(plan, &(struct evaluation_sources){0}, &evaluation));
    status error = SUCCESS;
    for (int i = 0; i < plan->nstatements && !error; i++)
        if (plan_start(&plan->statement[i]) != plan->statement[i].value)
            error = finish_statement(evaluation, plan, &plan->statement[i], params);
    evaluation_destroy(&evaluation);
    return error;
}

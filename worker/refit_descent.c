/* Refit of one layer towards the source's outputs of the next ones. */
#include "worker/descent.h"
#include "worker/refit_pass.h"

#include <stdlib.h>

#define DESCENT_ROWS                                                                                         \
    16384 /* of patches that the Gram matrix is made from, or more if the patches are large */
#define DESCENT_STEPS 8

static status add_output(const struct pass *p, int value, const struct op *maker, struct descent *d,
                         struct descent_output *output) {
    const struct refit *r = p->r;
    float *y = NULL;
    int64_t *column = NULL;
    if (r->source_value[value] < 0) return SUCCESS;
    for (int i = 0; i < d->noutputs; i++)
        if (output[i].value == value) return SUCCESS;
    STATUS_TRY(activations_compute(p->source, r->source_value[value], &y));
    status error = maker ? refit_columns(r, maker, refit_statement(r, maker), &column) : SUCCESS;
    output[d->noutputs++] = (struct descent_output){.value = value,
                                                    .y = y,
                                                    .width = refit_width(r->source, r->source_value[value]),
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
        if (!refit_statement(p->r, op) || !refit_known(p->r, op)) { /* or the first of two factors */
            reached[op->out] = true;
            continue;
        }
        int other;
        const struct op *sum = refit_sum(g, i, &other);
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
status refit_descend(const struct pass *p, int index, struct plan_statement *s, bool *possible) {
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
    if (!error && result.possible) refit_report(p, s, "outputs after", result.before, result.after);
    return error;
}

/* Refit of a recurrent layer in closed form. The source's inputs and outputs are known, so its gates before
 * their functions are too, and each is an affine map of the inputs and of the state of the step before: a fit
 * over all steps. First with the source's states at the kept units in the place of the target's (teacher
 * forcing: Williams, Zipser 1989), then with those that the target comes to with the weights found, as long
 * as its outputs, which are what counts in the end, get better on held-out samples. */
#include "shared/layer.h"
#include "worker/grid.h"
#include "worker/recurrence.h"
#include "worker/refit_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OWN_ROUNDS 3 /* with the target's own states */

/* One call of the layer in both models. */
struct call {
    struct recurrence source, target;
    float *part[7]; /* what is owned of their samples */
    int nparts;
};

struct refit_gates {
    const struct pass *p;
    int ncalls;
    struct call *call;
    int64_t *unit; /* [units of the target] those of the source, owned; NULL: all */
    float *w[3];   /* the target's kernel, recurrent kernel and bias, which are fitted */
};

/* ---- what is known ---- */

/* A value of one model: borrowed at the frontier, or made and owned by the call. */
static status take(struct activations *a, int value, struct call *call, const float **samples) {
    *samples = activations_at(a, value);
    if (*samples) return SUCCESS;
    STATUS_TRY(activations_compute(a, value, &call->part[call->nparts]));
    *samples = call->part[call->nparts++];
    return SUCCESS;
}

static status take_inputs(struct activations *a, const struct op *op, struct call *call,
                          struct recurrence *r) {
    const struct recurrent *how = &op->u.recurrent;
    STATUS_TRY(take(a, op->in[0], call, &r->x));
    if (how->states) STATUS_TRY(take(a, op->in[1], call, &r->state));
    return how->mask ? take(a, op->in[1 + how->states], call, &r->mask) : SUCCESS;
}

static bool alike(const struct opgraph *source, const struct op *from, const struct opgraph *target,
                  const struct op *to) {
    const struct recurrent *a = &from->u.recurrent, *b = &to->u.recurrent;
    return from->kind == OP_RECURRENT && a->cell == b->cell && a->reset_after == b->reset_after &&
           a->backwards == b->backwards && (from->param[2] < 0) == (to->param[2] < 0) &&
           source->value[from->out].dim[1] == target->value[to->out].dim[1];
}

/* A call that the source has too, else *added is false. */
static status add_call(const struct pass *p, const struct op *op, struct call *call, bool *added) {
    const struct refit *r = p->r;
    int value = r->source_value[op->out], maker = value < 0 ? -1 : opgraph_producer(r->source, value);
    *added = maker >= 0 && alike(r->source, &r->source->op[maker], r->target, op);
    if (!*added) return SUCCESS;
    call->source = recurrence_of(r->source, r->source_params, &r->source->op[maker], r->calibration->n);
    call->target = recurrence_of(r->target, r->target_params, op, r->calibration->n);
    STATUS_TRY(take_inputs(p->source, call->source.op, call, &call->source));
    STATUS_TRY(take(p->source, value, call, &call->source.h));
    return take_inputs(p->target, op, call, &call->target);
}

static status open_calls(struct refit_gates *g, int index, const struct plan_statement *s) {
    const struct opgraph *t = g->p->r->target;
    const struct op *first = &t->op[index];
    g->call = calloc((size_t)t->nops + 1, sizeof *g->call);
    if (!g->call) return status_no_memory("a refit", (size_t)t->nops * sizeof *g->call);
    STATUS_TRY(refit_columns(g->p->r, first, s, &g->unit));
    for (int i = 0; i < 3; i++)
        g->w[i] = first->param[i] >= 0 ? params_at(g->p->r->target_params, first->param[i]) : NULL;
    for (int i = index; i < t->nops; i++) {
        bool added = false;
        if (t->op[i].kind != OP_RECURRENT || t->op[i].param[0] != first->param[0]) continue;
        struct call *call = &g->call[g->ncalls++];
        STATUS_TRY(add_call(g->p, &t->op[i], call, &added));
        g->ncalls -= !added;
    }
    return SUCCESS;
}

static void close_calls(struct refit_gates *g) {
    for (int i = 0; i < g->ncalls; i++)
        for (int k = 0; k < g->call[i].nparts; k++) free(g->call[i].part[k]);
    free(g->call);
    free(g->unit);
}

/* ---- fits ---- */

/* What a map of the target sees in this call, and what it is to give. With its own states the target is run
 * with its present weights. */
static status prepare(const struct refit_gates *g, const struct gate_map *map, bool own, struct call *call,
                      float **x, float **y) {
    const struct machine *machine = g->p->machine;
    struct recurrence *from = &call->source, *to = &call->target;
    int64_t units = to->units, columns = gate_map_columns(map, from->channels, from->units);
    bool reset = map->state == STATE_RESET;
    float *states = NULL, *rows = NULL, *kernel = NULL, *bias = NULL, *h = NULL, *mine = NULL;
    status error = recurrence_states(machine, from, reset, &states);
    if (!error) error = recurrence_rows(from, map, states, from->units, NULL, from->units, &rows);
    if (!error) error = recurrence_map(from, map, g->unit, units, &kernel, &bias);
    if (!error) error = recurrence_sums(machine, from, columns, map->gates * units, rows, kernel, bias, y);
    if (!error && own) error = activations_compute(g->p->target, to->op->out, &h);
    to->h = h;
    if (!error && own) error = recurrence_states(machine, to, reset, &mine);
    if (!error)
        error = own ? recurrence_rows(to, map, mine, units, NULL, units, x)
                    : recurrence_rows(to, map, states, from->units, g->unit, units, x);
    to->h = NULL;
    free(states);
    free(rows);
    free(kernel);
    free(bias);
    free(h);
    free(mine);
    return error;
}

/* Puts what was found for a map in its place among the gates. */
static void store(const struct refit_gates *g, const struct gate_map *map, const float *kernel,
                  const float *bias) {
    const struct recurrence *r = &g->call->target;
    int64_t m = map->gates * r->units;
    bool both = r->op->u.recurrent.reset_after && map->inputs && map->state != STATE_NONE;
    for (int64_t j = 0; j < m; j++) {
        int64_t column = map->first * r->units + j, i = 0;
        for (int64_t c = 0; c < r->channels && map->inputs; c++)
            g->w[0][c * r->gates + column] = kernel[i++ * m + j];
        for (int64_t c = 0; c < r->units && map->state != STATE_NONE; c++)
            g->w[1][c * r->gates + column] = kernel[i++ * m + j];
        if (!g->w[2]) continue;
        g->w[2][map->bias * r->gates + column] = bias[j] - (both ? g->w[2][r->gates + column] : 0);
    }
}

/* The map as a dense layer over the steps of each call. */
static status dense_calls(const struct refit_gates *g, const struct gate_map *map, struct opgraph *graph) {
    for (int i = 0; i < g->ncalls; i++) {
        const struct recurrence *r = &g->call[i].target;
        const struct shape in = SHAPE(SHAPE_UNKNOWN, r->steps, gate_map_columns(map, r->channels, r->units));
        const struct shape out = SHAPE(SHAPE_UNKNOWN, r->steps, map->gates * r->units);
        int value, made;
        STATUS_TRY(opgraph_add_value(graph, &in, &value));
        struct op op = op_make(OP_DENSE, &value, 1);
        STATUS_TRY(opgraph_add_op(graph, &op, &out, &made));
    }
    return SUCCESS;
}

static status fit_map(const struct refit_gates *g, const struct gate_map *map, bool own) {
    const struct refit *r = g->p->r;
    const struct fit_options options = {.ridge = r->config->ridge, .rows = FIT_ROWS};
    int64_t units = g->call->target.units;
    struct fit_call *call = calloc((size_t)g->ncalls, sizeof *call);
    float **part = calloc(2 * (size_t)g->ncalls, sizeof *part), *kernel = NULL, *bias = NULL;
    struct opgraph *graph = NULL;
    struct fit_result result;
    status error = call && part ? opgraph_create(&graph) : status_no_memory("a refit", 0);
    if (!error) error = dense_calls(g, map, graph);
    if (!error) error = recurrence_map(&g->call->target, map, NULL, units, &kernel, &bias);
    for (int i = 0; i < g->ncalls && !error; i++) {
        error = prepare(g, map, own, &g->call[i], &part[2 * i], &part[2 * i + 1]);
        call[i] = (struct fit_call){.op = &graph->op[i],
                                    .x = part[2 * i],
                                    .y = part[2 * i + 1],
                                    .counts = g->call[i].target.mask,
                                    .width = map->gates * units};
    }
    error = comm_agree(g->p->machine->world, error);
    if (!error) {
        struct fit_data data = refit_data(r->calibration, g->ncalls, call, NULL);
        error = fit_operation(g->p->machine, graph, &data, &options, kernel, g->w[2] ? bias : NULL, &result);
    }
    if (!error) store(g, map, kernel, bias);
    for (int i = 0; part && i < 2 * g->ncalls; i++) free(part[i]);
    free(part);
    free(call);
    free(kernel);
    free(bias);
    opgraph_destroy(&graph);
    return error;
}

/* ---- what counts in the end ---- */

struct outputs_error {
    double all, held; /* relative squared error; of the held-out blocks, if there are any */
};

/* Adds the errors of the outputs of one call: of blocks fitted to, then held out; then their sizes. */
static status add_errors(const struct refit_gates *g, const struct call *call, double *sum) {
    const struct recurrence *from = &call->source, *to = &call->target;
    const struct calibration *c = g->p->r->calibration;
    int64_t held = calibration_held(c);
    float *h = NULL;
    STATUS_TRY(activations_compute(g->p->target, to->op->out, &h));
    for (int64_t i = 0; i < c->n; i++) {
        bool out = block_held(c->first + i / CALIBRATION_BLOCK, held);
        for (int64_t t = i * to->steps; t < (i + 1) * to->steps; t++)
            for (int64_t j = 0; j < to->units; j++) {
                double wanted = from->h[t * from->width + (g->unit ? g->unit[j] : j)];
                double off = h[t * to->width + j] - wanted;
                sum[out] += off * off;
                sum[2 + out] += wanted * wanted;
            }
    }
    free(h);
    return SUCCESS;
}

static status measure(const struct refit_gates *g, struct outputs_error *e) {
    double sum[4] = {0};
    status error = SUCCESS;
    for (int i = 0; i < g->ncalls && !error; i++) error = add_errors(g, &g->call[i], sum);
    STATUS_TRY(comm_agree(g->p->machine->world, error));
    STATUS_TRY(comm_sum_f64(g->p->machine->world, sum, 4));
    double size = sum[2] + sum[3];
    e->all = size > 0 ? grid_coarse((sum[0] + sum[1]) / size) : 0;
    e->held = sum[3] > 0 ? grid_coarse(sum[1] / sum[3]) : e->all;
    if (isfinite(sum[0] + sum[1] + size)) return SUCCESS;
    return status_fail(STATUS_DATA, "a refit has no solution: the activations are not finite");
}

/* One round of fits, which is taken back unless it makes the outputs better. */
static status round_of_fits(const struct refit_gates *g, bool own, struct outputs_error *least,
                            bool *better) {
    struct params *past = NULL;
    struct outputs_error after = {0};
    int n;
    const struct gate_map *map = gate_maps(&g->call->target.op->u.recurrent, &n);
    STATUS_TRY(comm_agree(g->p->machine->world, params_clone(g->p->r->target_params, &past)));
    status error = SUCCESS;
    for (int i = 0; i < n && !error; i++) error = fit_map(g, &map[i], own);
    if (!error) error = measure(g, &after);
    *better = !error && after.held < least->held;
    if (*better) *least = after;
    for (int i = 0; i < 3 && !*better; i++) {
        int param = g->call->target.op->param[i];
        if (param < 0) continue;
        memcpy(params_at(g->p->r->target_params, param), params_at(past, param),
               (size_t)past->count[param] * sizeof(float));
    }
    params_destroy(&past);
    return error;
}

static status fit_rounds(const struct refit_gates *g, struct plan_statement *s) {
    struct outputs_error before, least;
    bool better = true;
    STATUS_TRY(measure(g, &before));
    least = before;
    STATUS_TRY(round_of_fits(g, false, &least, &better));
    double forced = least.all;
    better = true;
    for (int i = 0; i < OWN_ROUNDS && better; i++) STATUS_TRY(round_of_fits(g, true, &least, &better));
    log_line(g->p->machine->log, LOG_DEBUG, "%s: residual %.4f with the source's states, %.4f with its own",
             g->p->r->plan->target->layer[s->layer].name, forced, least.all);
    s->residual = least.all;
    const struct param *recurrent = &g->p->r->target->param[g->call->target.op->param[1]];
    struct plan_statement *second = plan_find(g->p->r->plan, recurrent->layer, recurrent->weight);
    if (second && plan_is_refit(second)) second->residual = least.all;
    refit_report(g->p, s, "refit", before.all, least.all);
    return SUCCESS;
}

status refit_recurrent(const struct pass *p, int index, struct plan_statement *s) {
    struct refit_gates g = {.p = p};
    status error = comm_agree(p->machine->world, open_calls(&g, index, s));
    if (!error && g.ncalls) error = fit_rounds(&g, s);
    close_calls(&g);
    return error;
}

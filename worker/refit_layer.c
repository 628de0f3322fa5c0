/* Refit of one layer towards the source's own outputs. */
#include "shared/projection.h"
#include "worker/directions.h"
#include "worker/factor.h"
#include "worker/fit.h"
#include "worker/refit_pass.h"
#include "worker/separable.h"

#include <stdlib.h>

/* Each a map of the channels alone, of one position to one. */
static bool is_pointwise(const struct op *op) {
    const struct window *w = &op->u.conv.window;
    return op->kind == OP_CONV && op->u.conv.groups == 1 && w->size[0] * w->size[1] == 1 &&
           w->stride[0] * w->stride[1] == 1;
}

/* The operation that alone reads this one's output, with no other between, and gives what the source has:
 * then this one, whose output the source does not have, is the first of two factors, or the depthwise part of
 * a separable convolution. -1: there is none. */
int refit_second(const struct refit *r, const struct op *op) {
    int reader = opgraph_only_reader(r->target, op->out);
    if (reader < 0 || r->source_value[op->out] >= 0) return -1;
    const struct op *second = &r->target->op[reader];
    bool alike = op->kind == OP_DEPTHWISE ? is_pointwise(second) && separable_fits(r->target, op)
                                          : patches_known(second) && second->kind == op->kind;
    bool plain = alike && second->param[0] != op->param[0];
    return plain && refit_known(r, second) && refit_statement(r, second) ? reader : -1;
}

/* The statement that refits this operation's kernel, or NULL. */
struct plan_statement *refit_statement(const struct refit *r, const struct op *op) {
    if (!patches_known(op) && op->kind != OP_RECURRENT) return NULL;
    const struct param *p = &r->target->param[op->param[0]];
    struct plan_statement *s = plan_find(r->plan, p->layer, p->weight);
    return s && plan_is_refit(s) ? s : NULL;
}

bool refit_known(const struct refit *r, const struct op *op) {
    const struct plan_statement *s = refit_statement(r, op);
    return r->source_value[op->out] >= 0 && !(s && plan_projects(s));
}

/* Of a kernel that makes what is inside a layer, (features, heads, size): the places of the kept heads. */
static status head_columns(const struct refit *r, const struct plan_statement *s, const struct weight *w,
                           int64_t **column) {
    int64_t *head = NULL, size = 1;
    int axis = 1;
    while (!(w->inner_axes & 1U << axis)) axis++;
    for (int i = axis + 1; i < w->shape.rank; i++) size *= w->shape.dim[i];
    STATUS_TRY(plan_positions(r->plan, s, axis, &head));
    if (!head) return SUCCESS;
    int64_t n = s->shape.dim[axis] * size;
    status error = memory_alloc("a keep list", (size_t)n, sizeof **column, (void **)column);
    for (int64_t i = 0; i < n && !error; i++) (*column)[i] = head[i / size] * size + i % size;
    free(head);
    return error;
}

/* The source's output channels that the target's operation has; NULL with SUCCESS: all of them. Owned. */
status refit_columns(const struct refit *r, const struct op *op, const struct plan_statement *s,
                     int64_t **column) {
    bool depthwise = op->kind == OP_DEPTHWISE, recurrent = op->kind == OP_RECURRENT;
    if (recurrent) { /* whose recurrent kernel reads the outputs that the layer has */
        const struct param *p = &r->target->param[op->param[1]];
        s = plan_find(r->plan, p->layer, p->weight);
    }
    const struct weight *w = &r->plan->target->layer[s->layer].weight[s->weight];
    int axis = depthwise || recurrent ? w->in_axis : w->out_axis;
    int64_t *channel = NULL;
    *column = NULL;
    if (axis < 0 && w->inner_axes > 1) return head_columns(r, s, w, column);
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
const struct op *refit_sum(const struct opgraph *g, int index, int *other) {
    int value = g->op[index].out, reader = opgraph_only_reader(g, value);
    const struct op *sum = reader < 0 ? NULL : &g->op[reader];
    if (!sum || sum->kind != OP_BINARY || sum->u.binary.kind != BINARY_ADD) return NULL;
    *other = sum->in[sum->in[0] == value];
    bool alike = shape_equal(&g->value[*other], &g->value[value]);
    return alike && opgraph_producer(g, *other) < index ? sum : NULL;
}

int64_t refit_width(const struct opgraph *g, int value) {
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
    const struct op *sum = alone ? refit_sum(g, index, &other) : NULL;
    if (sum && p->r->source_value[sum->out] < 0) sum = NULL;
    if (sum) wanted = sum->out;
    STATUS_TRY(activations_compute(p->source, p->r->source_value[wanted], outputs));
    *call = (struct fit_call){.op = op,
                              .x = activations_at(p->target, op->in[0]),
                              .y = *outputs,
                              .width = refit_width(p->r->source, p->r->source_value[wanted]),
                              .outcome = outcome_of(g, wanted)};
    if (!call->x) {
        STATUS_TRY(activations_compute(p->target, op->in[0], inputs));
        call->x = *inputs;
    }
    if (!sum) return SUCCESS;
    const float *from = activations_at(p->target, other);
    int64_t m = refit_width(g, other), rows = p->r->calibration->n * shape_sample_count(&g->value[other]) / m;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < m; j++)
            (*outputs)[i * call->width + (column ? column[j] : j)] -= from[i * m + j];
    return SUCCESS;
}

void refit_report(const struct pass *p, const struct plan_statement *s, const char *what, double before,
                  double after) {
    struct log *log = p->machine->log;
    const struct layer *layer = &p->r->plan->target->layer[s->layer];
    log_line(log, LOG_DEBUG, "%s %s/%s: residual %.4f -> %.4f", what, layer->name,
             layer->weight[s->weight].name, before, after);
    LOG_EVENT(log, "refit", {"layer", 0, layer->name}, {"before", before, NULL}, {"after", after, NULL});
}

struct fit_data refit_data(const struct calibration *c, int ncalls, const struct fit_call *call,
                           const int64_t *column) {
    return (struct fit_data){.ncalls = ncalls,
                             .call = call,
                             .column = column,
                             .n = c->n,
                             .total = c->total,
                             .block = CALIBRATION_BLOCK,
                             .first = c->first,
                             .held = calibration_held(c)};
}

/* Of the source's outputs those combinations that are wanted in their place: see shared/transforms/project.c.
 * `part` are the calls' own outputs, replaced. */
static status project_calls(const struct pass *p, int ncalls, struct fit_call *call, float **part) {
    const struct opgraph *g = p->r->target;
    const struct shape *out = &g->value[call->op->out];
    int64_t m = call->width, n = out->dim[out->rank - 1], positions = shape_sample_count(out) / n;
    struct fit_data data = refit_data(p->r->calibration, 1, call, NULL);
    struct directions d = {0};
    status error = n < m ? directions_find(p->machine, &data, positions, m, n, &d) : SUCCESS;
    for (int i = 0; i < ncalls && !error; i++) {
        int64_t rows = data.n * shape_sample_count(&g->value[call[i].op->out]) / n;
        float *z = NULL;
        error = comm_agree(p->machine->world,
                           memory_alloc("outputs", (size_t)(rows * n), sizeof *z, (void **)&z));
        if (error) break;
        if (n < m) directions_project(&d, rows, call[i].y, false, p->machine->threads, z);
        for (int64_t r = 0; r < rows && n >= m; r++) projection_widen(m, call[i].y + r * m, n, z + r * n);
        free(part[2 * i + 1]);
        call[i].y = part[2 * i + 1] = z;
    }
    for (int i = 0; i < ncalls && !error; i++) call[i].width = n;
    directions_free(&d);
    return error;
}

static status fit_calls(const struct pass *p, const struct plan_statement *s, int ncalls, const int *calls,
                        struct fit_result *result) {
    const struct refit *r = p->r;
    const struct op *op = &r->target->op[calls[0]];
    struct fit_options options = {
        .ridge = r->config->ridge, .rounds = r->config->relu_rounds, .rows = FIT_ROWS};
    struct fit_call *call = calloc((size_t)ncalls, sizeof *call);
    float **part = calloc(2 * (size_t)ncalls, sizeof *part);
    int64_t *column = NULL;
    bool known = refit_known(r, op);
    status error = call && part ? SUCCESS : status_no_memory("a refit", 0);
    if (!error && known) error = refit_columns(r, op, s, &column);
    for (int i = 0; i < ncalls && !error; i++)
        error =
            prepare_call(p, calls[i], known && ncalls == 1, column, &call[i], &part[2 * i], &part[2 * i + 1]);
    error = comm_agree(p->machine->world, error);
    if (!error && !known) error = project_calls(p, ncalls, call, part);
    if (!error) {
        struct fit_data data = refit_data(r->calibration, ncalls, call, column);
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

status refit_fit(const struct pass *p, int index, struct plan_statement *s) {
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
    refit_report(p, s, "refit", result.before, result.after);
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

static status fit_two(const struct pass *p, const struct fit_data *data, const struct op *second,
                      struct fit_result *result) {
    const struct refit *r = p->r;
    const struct fit_options options = {.ridge = r->config->ridge, .rows = FIT_ROWS};
    const struct op *first = data->call->op;
    float *kernel = params_at(r->target_params, first->param[0]),
          *next = params_at(r->target_params, second->param[0]);
    int64_t m = refit_width(r->target, second->out);
    if (first->kind == OP_DEPTHWISE)
        return separable_fit(p->machine, r->target, data, m, second->param[1] >= 0, &options, kernel, next,
                             result);
    return factor_fit(p->machine, r->target, data, m, &options, kernel, next, result);
}

/* The first of two factors, or the depthwise part of a separable convolution, towards the source's outputs of
 * the second. */
status refit_factor(const struct pass *p, int index, int second, struct plan_statement *s) {
    const struct refit *r = p->r;
    const struct op *left = &r->target->op[index], *right = &r->target->op[second];
    struct fit_result result = {0};
    float *inputs = NULL, *outputs = NULL;
    int64_t *column = NULL;
    int value = r->source_value[right->out];
    status error = refit_columns(r, right, refit_statement(r, right), &column);
    if (!error) error = activations_compute(p->source, value, &outputs);
    struct fit_call call = {.op = left,
                            .x = activations_at(p->target, left->in[0]),
                            .y = outputs,
                            .width = refit_width(r->source, value)};
    if (!error && !call.x) error = activations_compute(p->target, left->in[0], &inputs);
    if (!call.x) call.x = inputs;
    error = comm_agree(p->machine->world, error);
    if (!error) {
        struct fit_data data = refit_data(r->calibration, 1, &call, column);
        error = fit_two(p, &data, right, &result);
    }
    free(inputs);
    free(outputs);
    free(column);
    if (error) return error;
    if (p->number == 0) s->residual = result.after;
    refit_report(p, s, "refit", result.before, result.after);
    return SUCCESS;
}

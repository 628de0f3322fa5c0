/* The onednn engine: compiles a graph to steps. */
#include "worker/engines/engines.h"
#include "worker/engines/onednn/kinds.h"
#include "worker/engines/onednn/sizing.h"

#include <stdlib.h>
#include <string.h>

/* ---- what kinds of steps call ---- */

size_t step_reserve(size_t *nbytes, size_t more) {
    size_t at = (*nbytes + 63) / 64 * 64;
    *nbytes = at + more;
    return at;
}

status step_mismatch(const struct onednn_exec *exec, const struct step *step, const char *what) {
    char in[SHAPE_TEXT_MAX], out[SHAPE_TEXT_MAX];
    return status_fail(STATUS_INTERNAL, "operation %s of node %d, %s to %s: %s", op_name(step->op->kind),
                       step->op->node, shape_format(&exec->shape[step->in[0]], in),
                       shape_format(&exec->shape[step->out], out), what);
}

status step_alloc(struct onednn_exec *exec, const char *what, size_t count, size_t size, void **memory) {
    STATUS_TRY(memory_alloc(what, count, size, memory));
    exec->nbytes += count * size;
    return SUCCESS;
}

float *step_param_grad(struct onednn_exec *exec, int param) {
    bool first = exec->param_left[param] == exec->param_uses[param];
    return first ? params_at(exec->grads, param) : exec->shared_grad;
}

void step_param_done(struct onednn_exec *exec, int param) {
    if (exec->param_left[param] < exec->param_uses[param]) {
        float *grad = params_at(exec->grads, param);
        for (int64_t i = 0; i < exec->graph->param[param].count; i++) grad[i] += exec->shared_grad[i];
    }
    exec->param_left[param]--;
    if (exec->param_left[param] == 0 && exec->options.grad_ready)
        exec->options.grad_ready(exec->options.context, param);
}

/* ---- compiling ---- */

static status check_options(const struct exec_options *o) {
    if (o->batch < 1) return status_fail(STATUS_INTERNAL, "a batch of %lld samples", (long long)o->batch);
    if (o->threads < 1) return status_fail(STATUS_INTERNAL, "%d threads", o->threads);
    return SUCCESS;
}

static status create_arrays(struct onednn_exec *e) {
    const size_t n = (size_t)e->graph->nvalues + 1, p = (size_t)e->graph->nparams + 1;
    e->shape = calloc(n, sizeof *e->shape);
    e->count = calloc(n, sizeof *e->count);
    e->wants_grad = calloc(n, sizeof *e->wants_grad);
    e->format = calloc(n, sizeof *e->format);
    e->rounded = calloc(n, sizeof *e->rounded);
    e->root = calloc(n, sizeof *e->root);
    e->value = calloc(n, sizeof *e->value);
    e->grad = calloc(n, sizeof *e->grad);
    e->param_uses = calloc(p, sizeof *e->param_uses);
    e->param_left = calloc(p, sizeof *e->param_left);
    if (!e->shape || !e->count || !e->wants_grad || !e->format || !e->rounded || !e->root || !e->value ||
        !e->grad || !e->param_uses || !e->param_left)
        return status_no_memory("the onednn engine", n * sizeof *e->shape);
    return SUCCESS;
}

/* Shapes of the values that operations use, for the batch. */
static status set_shape(struct onednn_exec *e, int value) {
    char text[SHAPE_TEXT_MAX];
    struct shape *s = &e->shape[value];
    *s = e->graph->value[value];
    if (s->rank > 0 && s->dim[0] == SHAPE_UNKNOWN) s->dim[0] = e->options.batch;
    if (s->rank < 1 || s->dim[0] != e->options.batch || !shape_is_known(s))
        return status_fail(STATUS_DATA,
                           "a value of shape %s cannot be computed: only the batch may be unknown",
                           shape_format(&e->graph->value[value], text));
    return shape_count(s, &e->count[value]);
}

static status set_shapes(struct onednn_exec *e) {
    const struct opgraph *g = e->graph;
    for (int i = 0; i < g->ninputs; i++) STATUS_TRY(set_shape(e, g->input[i]));
    for (int i = 0; i < g->noutputs; i++) STATUS_TRY(set_shape(e, g->output[i]));
    for (int i = 0; i < g->nops; i++) {
        for (int k = 0; k < g->op[i].nin; k++) STATUS_TRY(set_shape(e, g->op[i].in[k]));
        STATUS_TRY(set_shape(e, g->op[i].out));
    }
    return SUCCESS;
}

/* Which values need a gradient, which steps add to one, how many steps make each parameter's. */
static status plan_grads(struct onednn_exec *e) {
    const struct opgraph *g = e->graph;
    int64_t shared = 0;
    for (int i = 0; i < g->ninputs; i++) e->wants_grad[g->input[i]] = e->options.input_grads;
    for (int i = 0; i < e->nsteps; i++) {
        struct step *s = &e->step[i];
        s->accumulate = calloc((size_t)s->nin + 1, sizeof *s->accumulate);
        if (!s->accumulate) return status_no_memory("an execution plan", (size_t)s->nin);
        for (int k = 0; k < 4; k++) {
            const int p = s->op->param[k];
            if (!step_wants_param(e, p)) continue;
            e->wants_grad[s->out] = true;
            if (e->param_uses[p]++ && g->param[p].count > shared) shared = g->param[p].count;
        }
        for (int k = 0; k < s->nin; k++) e->wants_grad[s->out] |= e->wants_grad[s->in[k]];
    }
    bool *written = calloc((size_t)g->nvalues + 1, sizeof *written);
    if (!written) return status_no_memory("an execution plan", (size_t)g->nvalues);
    for (int i = 0; i < g->noutputs; i++) written[g->output[i]] = true;
    for (int i = e->nsteps - 1; i >= 0; i--)
        for (int k = 0; k < e->step[i].nin; k++) {
            e->step[i].accumulate[k] = written[e->step[i].in[k]];
            written[e->step[i].in[k]] = true;
        }
    free(written);
    return shared ? step_alloc(e, "gradients of shared weights", (size_t)shared, sizeof(float),
                               (void **)&e->shared_grad)
                  : SUCCESS;
}

/* Room for float32 of what a step cannot read or write as it is stored. */
static status plan_conversions(const struct onednn_exec *e, struct step *s) {
    bool needed = e->format[s->out].dtype != DTYPE_F32;
    for (int k = 0; k < s->nin; k++) needed = needed || e->format[s->in[k]].dtype != DTYPE_F32;
    if (!needed || s->any_format || s->alias) return SUCCESS;
    s->conversion = calloc((size_t)s->nin + 1, sizeof *s->conversion);
    if (!s->conversion) return status_no_memory("an execution plan", (size_t)s->nin * sizeof *s->conversion);
    for (int k = 0; k <= s->nin; k++)
        s->conversion[k].at = step_reserve(&s->scratch_bytes[PHASE_FORWARD],
                                           (size_t)e->count[step_value(s, k)] * sizeof(float));
    s->inplace = false;
    return SUCCESS;
}

/* Outputs of a batch that is run in parts. */
static status create_gathered(struct onednn_exec *e) {
    if (e->whole == e->options.batch) return SUCCESS;
    e->gathered = calloc((size_t)e->graph->noutputs + 1, sizeof *e->gathered);
    if (!e->gathered) return status_no_memory("outputs", (size_t)e->graph->noutputs * sizeof *e->gathered);
    for (int i = 0; i < e->graph->noutputs; i++)
        STATUS_TRY(step_alloc(e, "outputs",
                              (size_t)(e->count[e->graph->output[i]] / e->options.batch * e->whole),
                              sizeof(float), (void **)&e->gathered[i]));
    return SUCCESS;
}

static status compile_all(struct onednn_exec *e, const struct opgraph *graph) {
    STATUS_TRY(opgraph_cut(graph, graph->ninputs, graph->input, graph->noutputs, graph->output, &e->graph));
    STATUS_TRY(create_arrays(e));
    STATUS_TRY(set_shapes(e));
    STATUS_TRY(dnn_create(&e->dnn));
    STATUS_TRY(plan_steps(e));
    STATUS_TRY(formats_choose(e));
    if (step_trains(e)) STATUS_TRY(plan_grads(e));
    for (int i = 0; i < e->nsteps; i++) {
        e->step[i].threads = step_trains(e) ? e->threads : sizing_threads(e, &e->step[i], e->threads);
        use_threads(e, e->step[i].threads);
        STATUS_TRY(e->step[i].kind->prepare(e, &e->step[i]));
        STATUS_TRY(plan_conversions(e, &e->step[i]));
    }
    e->options.range = NULL; /* the caller's */
    STATUS_TRY(create_gathered(e));
    return memory_bind(e);
}

void onednn_destroy(struct exec *exec) {
    struct onednn_exec *e = (struct onednn_exec *)exec;
    for (int i = 0; i < e->nsteps; i++) {
        struct step *s = &e->step[i];
        if (s->kind && s->kind->destroy) s->kind->destroy(s);
        else free(s->state);
        free(s->in);
        free(s->accumulate);
        free(s->conversion);
    }
    free(e->step);
    for (int i = 0; e->gathered && i < e->graph->noutputs; i++) free(e->gathered[i]);
    free(e->gathered);
    dnn_destroy(&e->dnn);
    opgraph_destroy(&e->graph);
    free(e->shape);
    free(e->count);
    free(e->wants_grad);
    free(e->format);
    free(e->rounded);
    free(e->root);
    free(e->value);
    free(e->grad);
    free(e->param_uses);
    free(e->param_left);
    free(e->shared_grad);
    free(e->arena);
    free(e);
}

static status onednn_compile(const struct opgraph *graph, const struct exec_options *options,
                             struct exec **exec) {
    STATUS_TRY(check_options(options));
    struct onednn_exec *e = calloc(1, sizeof *e);
    if (!e) return status_no_memory("the onednn engine", sizeof *e);
    e->base.class = &onednn_exec_class;
    e->options = *options;
    e->threads = options->threads;
    e->whole = options->batch;
    if (!step_trains(e)) e->options.batch = sizing_part(graph, options->batch);
    e->global_batch = options->sum && options->global_batch ? options->global_batch : options->batch;
    int before = threads_set(options->threads);
    status error = compile_all(e, graph);
    threads_set(before);
    if (error) {
        onednn_destroy(&e->base);
        return error;
    }
    *exec = &e->base;
    return SUCCESS;
}

static bool onednn_has(enum precision precision) {
    return precision == PRECISION_FLOAT32 || dnn_has(precision == PRECISION_BFLOAT16 ? DTYPE_BF16 : DTYPE_I8);
}

const struct engine engine_onednn = {
    .name = "onednn",
    .description = "oneDNN and own vector loops: the fast one",
    .has = onednn_has,
    .compile = onednn_compile,
};

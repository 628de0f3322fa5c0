/* Running the steps of an exec. */
#include "worker/engines/onednn/step.h"

#include <string.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* ---- threads ---- */

/* oneDNN uses as many threads as OpenMP would: set while the engine works, given back afterwards. */
int threads_set(int threads) {
#ifdef _OPENMP
    int before = omp_get_max_threads();
    if (before != threads) omp_set_num_threads(threads);
    return before;
#else
    return threads;
#endif
}

void use_threads(struct onednn_exec *e, int threads) {
    e->options.threads = threads;
    threads_set(threads);
}

/* ---- steps ---- */

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The step on float32 copies of its values. */
static status forward_converted(struct onednn_exec *e, struct step *s) {
    const int threads = e->options.threads;
    struct conversion *c = s->conversion;
    for (int k = 0; k <= s->nin; k++) c[k].stored = e->value[step_value(s, k)];
    for (int k = 0; k <= s->nin; k++) {
        const int v = step_value(s, k);
        e->value[v] = (float *)(void *)((char *)s->scratch[PHASE_FORWARD] + c[k].at);
        if (k < s->nin) format_read(e->format[v], e->count[v], threads, c[k].stored, e->value[v]);
    }
    status error = s->kind->forward(e, s);
    format_store(e->format[s->out], e->count[s->out], threads, e->value[s->out], c[s->nin].stored);
    for (int k = 0; k <= s->nin; k++) e->value[step_value(s, k)] = c[k].stored;
    return error;
}

static status forward_step(struct onednn_exec *e, struct step *s) {
    if (s->conversion) return forward_converted(e, s);
    if (!s->alias) return s->kind->forward(e, s);
    const float *x = e->value[s->in[0]];
    float *y = e->value[s->out]; /* memory of its own only where an input is an output */
    if (x != y) memcpy(y, x, (size_t)e->count[s->out] * sizeof *y);
    return SUCCESS;
}

static status run_step(struct onednn_exec *e, struct step *s, enum phase phase) {
    if (e->options.threads != s->threads) use_threads(e, s->threads);
    double start = e->profile ? seconds_now() : 0;
    status error = phase == PHASE_FORWARD ? forward_step(e, s) : s->kind->backward(e, s);
    if (!e->profile) return error;
    const double seconds = seconds_now() - start;
    if (s->seconds[phase] == 0 || seconds < s->seconds[phase]) s->seconds[phase] = seconds;
    return error;
}

static status pack_all(struct onednn_exec *e) {
    for (int i = 0; i < e->nsteps; i++) {
        if (!e->step[i].kind->pack) continue;
        use_threads(e, e->step[i].threads);
        STATUS_TRY(e->step[i].kind->pack(e, &e->step[i]));
    }
    return SUCCESS;
}

static status onednn_set_params(struct exec *exec, struct params *params) {
    struct onednn_exec *e = (struct onednn_exec *)exec;
    STATUS_TRY(params_check(params, e->graph));
    e->has_params = true;
    e->params = params;
    if (step_trains(e)) return SUCCESS;
    int before = threads_set(e->threads);
    status error = pack_all(e);
    threads_set(before);
    e->has_params = !error;
    e->params = NULL; /* all that is needed has been copied */
    return error;
}

static status forward_all(struct onednn_exec *e) {
    status error = SUCCESS;
    for (int i = 0; i < e->nsteps && exec_goes_on(error); i++)
        error = status_first(error, run_step(e, &e->step[i], PHASE_FORWARD));
    return error;
}

/* Samples from `first` on. */
static status forward_part(struct onednn_exec *e, const float *const *inputs, int64_t first) {
    const struct opgraph *g = e->graph;
    const int64_t batch = e->options.batch;
    for (int i = 0; i < g->ninputs; i++)
        for (int v = 0; v < g->nvalues; v++)
            if (e->root[v] == g->input[i])
                e->value[v] = (float *)(uintptr_t)(inputs[i] + first * (e->count[g->input[i]] / batch));
    status error = forward_all(e);
    for (int i = 0; e->gathered && i < g->noutputs && exec_goes_on(error); i++) {
        const int64_t count = e->count[g->output[i]];
        memcpy(e->gathered[i] + first * (count / batch), e->value[g->output[i]],
               (size_t)count * sizeof(float));
    }
    return error;
}

/* Samples of the last part may have been computed before: so that all parts are of one size. */
static status forward_parts(struct onednn_exec *e, const float *const *inputs) {
    const int64_t batch = e->options.batch;
    status error = SUCCESS;
    for (int64_t first = 0; first < e->whole && exec_goes_on(error); first += batch)
        error =
            status_first(error, forward_part(e, inputs, first + batch > e->whole ? e->whole - batch : first));
    return error;
}

static status onednn_forward(struct exec *exec, const float *const *inputs) {
    struct onednn_exec *e = (struct onednn_exec *)exec;
    e->forward_done = false;
    if (!e->has_params && e->graph->nparams > 0)
        return status_fail(STATUS_INTERNAL, "an engine runs before it has parameters");
    e->options.threads = e->threads;
    int before = threads_set(e->threads);
    status error = forward_parts(e, inputs);
    threads_set(before);
    e->forward_done = exec_goes_on(error);
    return error;
}

static const float *onednn_output(const struct exec *exec, int i) {
    const struct onednn_exec *e = (const struct onednn_exec *)exec;
    return e->gathered ? e->gathered[i] : e->value[e->graph->output[i]];
}

static void output_grads_in(struct onednn_exec *e, const float *const *output_grads) {
    for (int i = 0; i < e->graph->noutputs; i++) {
        const int v = e->graph->output[i];
        const size_t nbytes = (size_t)e->count[v] * sizeof(float);
        if (!e->grad[v]) continue;
        bool again = false; /* the same value as an output before */
        for (int k = 0; k < i; k++) again = again || e->graph->output[k] == v;
        if (again) {
            for (int64_t j = 0; output_grads[i] && j < e->count[v]; j++) e->grad[v][j] += output_grads[i][j];
        } else if (output_grads[i]) {
            memcpy(e->grad[v], output_grads[i], nbytes);
        } else {
            memset(e->grad[v], 0, nbytes);
        }
    }
}

static status backward_all(struct onednn_exec *e) {
    const struct exec_options *o = &e->options;
    for (int i = e->nsteps - 1; i >= 0; i--) {
        if (!e->wants_grad[e->step[i].out]) continue;
        STATUS_TRY(run_step(e, &e->step[i], PHASE_BACKWARD));
        if (o->grad_ready) o->grad_ready(o->context, -1);
    }
    return SUCCESS;
}

static status onednn_backward(struct exec *exec, const float *const *output_grads, struct params *grads) {
    struct onednn_exec *e = (struct onednn_exec *)exec;
    if (!step_trains(e)) return status_fail(STATUS_INTERNAL, "backward of an engine compiled for inference");
    if (!e->forward_done) return status_fail(STATUS_INTERNAL, "backward without a forward before it");
    e->grads = grads;
    memcpy(e->param_left, e->param_uses, (size_t)e->graph->nparams * sizeof *e->param_left);
    int before = threads_set(e->threads);
    e->options.threads = e->threads;
    output_grads_in(e, output_grads);
    status error = backward_all(e);
    threads_set(before);
    e->grads = NULL;
    return error;
}

static const float *onednn_input_grad(const struct exec *exec, int i) {
    const struct onednn_exec *e = (const struct onednn_exec *)exec;
    return e->grad[e->graph->input[i]];
}

static void onednn_set_step(struct exec *exec, uint64_t step, uint64_t first_sample) {
    struct onednn_exec *e = (struct onednn_exec *)exec;
    e->rng_step = step;
    e->first_sample = first_sample;
}

static size_t onednn_memory(const struct exec *exec) {
    return ((const struct onednn_exec *)exec)->nbytes;
}

const struct exec_class onednn_exec_class = {
    .set_params = onednn_set_params,
    .forward = onednn_forward,
    .output = onednn_output,
    .backward = onednn_backward,
    .input_grad = onednn_input_grad,
    .set_step = onednn_set_step,
    .memory = onednn_memory,
    .destroy = onednn_destroy,
};

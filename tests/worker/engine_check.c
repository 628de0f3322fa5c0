#include "worker/engine_check.h"

#include "shared/rng.h"
#include "worker/nets.h"
#include "worker/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Engines compute in single precision: one rounding is 6e-8, and sums of up to a few hundred terms of mixed
 * signs, one layer after the other, lose one to two digits more. Gradients pass through every layer twice. An
 * error of method (a wrong edge, a missing term) is larger than 1e-3. */
#define OUTPUT_TOLERANCE 3e-5
#define GRADIENT_TOLERANCE 2e-4
#define SAMPLES 24

struct trial *trial_create(struct opgraph *graph, int64_t batch, uint64_t seed) {
    struct trial *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->graph = graph;
    t->batch = batch;
    t->params = net_params(graph, seed);
    t->input = calloc((size_t)graph->ninputs + 1, sizeof *t->input);
    t->weight = calloc((size_t)graph->noutputs + 1, sizeof *t->weight);
    assert_true(t->input && t->weight);
    for (int i = 0; i < graph->ninputs; i++)
        t->input[i] = random_floats(net_count(graph, graph->input[i], batch), seed * 100 + 1 + (uint64_t)i);
    for (int i = 0; i < graph->noutputs; i++)
        t->weight[i] =
            random_floats(net_count(graph, graph->output[i], batch), seed * 100 + 51 + (uint64_t)i);
    return t;
}

void trial_destroy(struct trial *t) {
    for (int i = 0; i < t->graph->ninputs; i++) free(t->input[i]);
    for (int i = 0; i < t->graph->noutputs; i++) free(t->weight[i]);
    free(t->input);
    free(t->weight);
    params_destroy(&t->params);
    opgraph_destroy(&t->graph);
    free(t);
}

const float *const *trial_inputs(const struct trial *t) {
    return (const float *const *)t->input;
}

const float *const *trial_weights(const struct trial *t) {
    return (const float *const *)t->weight;
}

/* As assert_close_double(), with a least scale. */
static void assert_close_scaled(const char *what, const float *a, const double *b, int64_t n,
                                double tolerance, double scale) {
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(b[i]));
    for (int64_t i = 0; i < n; i++) {
        if (fabs((double)a[i] - b[i]) <= tolerance * scale) continue;
        print_error("%s: element %lld of %lld is %.9g, expected %.9g (scale %g)\n", what, (long long)i,
                    (long long)n, (double)a[i], b[i], scale);
        fail();
    }
}

void assert_close_double(const char *what, const float *a, const double *b, int64_t n, double tolerance) {
    assert_close_scaled(what, a, b, n, tolerance, 1e-6);
}

void assert_close(const char *what, const float *a, const float *b, int64_t n, double tolerance) {
    double *d = calloc((size_t)n + 1, sizeof *d);
    assert_non_null(d);
    for (int64_t i = 0; i < n; i++) d[i] = b[i];
    assert_close_double(what, a, d, n, tolerance);
    free(d);
}

struct exec *exec_must(const struct engine *engine, const struct opgraph *graph,
                       const struct exec_options *options) {
    struct exec *exec = NULL;
    must(engine->compile(graph, options, &exec));
    return exec;
}

/* One tensor's derivatives at some elements. */
struct derivatives {
    bool input;
    int number; /* of the input or parameter */
    int n;
    int64_t at[SAMPLES];
    double value[SAMPLES];
};

/* The first operation that reads a parameter. */
static int first_reader(const struct opgraph *g, int param) {
    for (int i = 0; i < g->nops; i++)
        for (int k = 0; k < 4; k++)
            if (g->op[i].param[k] == param) return i;
    return g->nops;
}

static void differentiate(const struct trial *t, struct reference *r, struct derivatives *d) {
    const struct opgraph *g = t->graph;
    double *x = d->input ? r->value[g->input[d->number]] : r->param[d->number];
    int64_t count = d->input ? net_count(g, g->input[d->number], t->batch) : g->param[d->number].count;
    int64_t at[SAMPLES];
    double value[SAMPLES];
    int n = count < SAMPLES ? (int)count : SAMPLES;
    struct rng rng = rng_make(1, RNG_CALIBRATION, (uint64_t)(d->number + 1000 * d->input));
    for (int i = 0; i < n; i++) at[i] = count <= SAMPLES ? i : (int64_t)rng_below(&rng, (uint64_t)count);
    reference_derivatives(r, trial_weights(t), x, d->input ? 0 : first_reader(g, d->number), n, at, value);
    for (int i = 0; i < n; i++) {
        if (isnan(value[i])) continue;
        d->at[d->n] = at[i];
        d->value[d->n++] = value[i];
    }
    /* Kinks are rare, or the check would be of nothing. */
    assert_true(2 * d->n >= n);
}

/* All derivatives of the loss; owned by the caller. */
static struct derivatives *all_derivatives(const struct trial *t, struct reference *r, int *n) {
    const struct opgraph *g = t->graph;
    struct derivatives *d = calloc((size_t)(g->ninputs + g->nparams) + 1, sizeof *d);
    assert_non_null(d);
    *n = 0;
    for (int i = 0; i < g->ninputs; i++) {
        d[*n] = (struct derivatives){.input = true, .number = i};
        differentiate(t, r, &d[(*n)++]);
    }
    for (int p = 0; p < g->nparams; p++) {
        if (!g->param[p].trainable) continue;
        d[*n] = (struct derivatives){.number = p};
        differentiate(t, r, &d[(*n)++]);
    }
    return d;
}

/* `greatest` of all derivatives of the loss: a tensor whose own are zero by cancelling (a bias before batch
 * norm) has the rounding of what cancelled. */
static void check_derivatives(const char *what, const struct derivatives *d, double greatest,
                              const float *gradient, int64_t count) {
    float picked[SAMPLES];
    char name[160];
    snprintf(name, sizeof name, "%s, gradient of %s %d", what, d->input ? "input" : "parameter", d->number);
    for (int i = 0; i < d->n; i++) picked[i] = gradient[d->at[i]];
    for (int64_t i = 0; i < count; i++) assert_true(isfinite(gradient[i]));
    assert_close_scaled(name, picked, d->value, d->n, GRADIENT_TOLERANCE, 0.01 * greatest);
}

struct check {
    const char *mode;
    struct exec_options options;
    struct reference *reference;
    struct derivatives *derivatives;
    int nderivatives;
};

static void check_engine(const struct trial *t, const struct check *c, const struct engine *engine,
                         int threads) {
    const struct opgraph *g = t->graph;
    char what[96];
    snprintf(what, sizeof what, "%s, %s, %d thread%s", engine->name, c->mode, threads,
             threads > 1 ? "s" : "");
    struct exec_options options = c->options;
    options.threads = threads;
    struct exec *exec = exec_must(engine, g, &options);
    struct params *params = NULL, *grads = NULL;
    must(params_clone(t->params, &params));
    must(params_create(g, &grads));
    must(exec_set_params(exec, params));
    must(exec_forward(exec, trial_inputs(t)));
    for (int i = 0; i < g->noutputs; i++)
        assert_close_double(what, exec_output(exec, i), c->reference->value[g->output[i]],
                            net_count(g, g->output[i], t->batch), OUTPUT_TOLERANCE);
    if (options.mode == EXEC_TRAIN) {
        /* Gradients are set, not added. */
        for (int64_t i = 0; i < grads->total; i++) grads->data[i] = 7;
        must(exec_backward(exec, trial_weights(t), grads));
        double greatest = 0;
        for (int k = 0; k < c->nderivatives; k++)
            for (int i = 0; i < c->derivatives[k].n; i++)
                greatest = fmax(greatest, fabs(c->derivatives[k].value[i]));
        for (int k = 0; k < c->nderivatives; k++) {
            const struct derivatives *d = &c->derivatives[k];
            if (d->input)
                check_derivatives(what, d, greatest, exec_input_grad(exec, d->number),
                                  net_count(g, g->input[d->number], t->batch));
            else check_derivatives(what, d, greatest, params_at(grads, d->number), grads->count[d->number]);
        }
    }
    params_destroy(&params);
    params_destroy(&grads);
    exec_destroy(&exec);
    assert_null(exec);
}

static bool has_batch_norm(const struct opgraph *g) {
    for (int i = 0; i < g->nops; i++)
        if (g->op[i].kind == OP_BATCH_NORM) return true;
    return false;
}

void trial_check(const struct trial *t) {
    struct check checks[3] = {
        {"inference", {.mode = EXEC_INFER}, NULL, NULL, 0},
        {"training", {.mode = EXEC_TRAIN, .batch_norm = BATCH_NORM_FROZEN}, NULL, NULL, 0},
        {"training on batch statistics",
         {.mode = EXEC_TRAIN, .batch_norm = BATCH_NORM_BATCH},
         NULL,
         NULL,
         0}};
    int n = has_batch_norm(t->graph) ? 3 : 2;
    for (int i = 0; i < n; i++) {
        struct check *c = &checks[i];
        c->options.batch = t->batch;
        c->options.input_grads = true;
        c->reference = reference_create(t->graph, t->batch, i == 2, trial_inputs(t), t->params);
        reference_forward(c->reference);
        if (c->options.mode == EXEC_TRAIN)
            c->derivatives = all_derivatives(t, c->reference, &c->nderivatives);
        for (int e = 0; e < engine_count(); e++)
            for (int threads = 1; threads <= 2; threads++) check_engine(t, c, engine_at(e), threads);
        free(c->derivatives);
        reference_destroy(c->reference);
    }
}

#include "worker/activations.h"
#include "worker/forward.h"

#include <stdlib.h>
#include <string.h>

struct activations {
    const struct machine *machine;
    const struct opgraph *graph;
    struct params *params;
    int64_t n, batch;
    const float *x; /* the input's, borrowed */
    float none;     /* in its place where there are no samples */
    float **value;  /* [graph->nvalues] (n, ...), NULL where not kept */
};

static void forget(struct activations *a, int value) {
    if (a->value[value] != a->x) free(a->value[value]);
    a->value[value] = NULL;
}

void activations_destroy(struct activations **activations) {
    struct activations *a = *activations;
    if (!a) return;
    for (int i = 0; a->value && i < a->graph->nvalues; i++) forget(a, i);
    free(a->value);
    free(a);
    *activations = NULL;
}

static int64_t floats_of(const struct activations *a, int value) {
    return shape_sample_count(&a->graph->value[value]);
}

static status allocate(const struct activations *a, int value, float **data) {
    return memory_alloc("activations (lower refit.samples)", (size_t)(a->n * floats_of(a, value)),
                        sizeof **data, (void **)data);
}

status activations_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                          const float *x, int64_t n, int64_t batch, struct activations **activations) {
    if (graph->ninputs != 1)
        return status_fail(STATUS_UNSUPPORTED, "the model has %d inputs; refitting takes one",
                           graph->ninputs);
    struct activations *a = calloc(1, sizeof *a);
    if (!a) return status_no_memory("activations", sizeof *a);
    *a = (struct activations){
        .machine = machine, .graph = graph, .params = params, .n = n, .batch = batch, .x = x};
    a->value = calloc((size_t)graph->nvalues + 1, sizeof *a->value);
    if (!a->value) {
        activations_destroy(&a);
        return status_no_memory("activations", (size_t)graph->nvalues * sizeof *a->value);
    }
    if (!x) a->x = &a->none;
    a->value[graph->input[0]] = (float *)(uintptr_t)a->x; /* only read */
    *activations = a;
    return SUCCESS;
}

const float *activations_at(const struct activations *a, int value) {
    return a->value[value];
}

/* Runs the cut over all samples, block by block: kept values in, out[i] (n, ...) of cut->output[i] out. */
static status run_blocks(struct activations *a, const struct opgraph *cut, struct exec *exec, float **padded,
                         const float **in, float *const *out) {
    for (int64_t first = 0; first < a->n; first += a->batch) {
        int64_t n = a->n - first < a->batch ? a->n - first : a->batch;
        comm_alive(a->machine->world);
        for (int i = 0; i < cut->ninputs; i++) {
            int64_t floats = floats_of(a, cut->input[i]);
            in[i] = a->value[cut->input[i]] + first * floats;
            if (n == a->batch) continue;
            for (int64_t j = 0; j < a->batch; j++)
                memcpy(padded[i] + j * floats, in[i] + (j < n ? j : n - 1) * floats,
                       (size_t)floats * sizeof(float));
            in[i] = padded[i];
        }
        STATUS_TRY(exec_forward(exec, in));
        for (int i = 0; i < cut->noutputs; i++) {
            int64_t floats = floats_of(a, cut->output[i]);
            memcpy(out[i] + first * floats, exec_output(exec, i), (size_t)(n * floats) * sizeof(float));
        }
    }
    return SUCCESS;
}

static status run_cut(struct activations *a, const struct opgraph *cut, float *const *out) {
    struct exec_options options = {.batch = a->batch, .mode = EXEC_INFER, .threads = a->machine->threads};
    struct exec *exec = NULL;
    float **padded = calloc((size_t)cut->ninputs + 1, sizeof *padded);
    const float **in = calloc((size_t)cut->ninputs + 1, sizeof *in);
    status error =
        padded && in ? SUCCESS : status_no_memory("activations", (size_t)cut->ninputs * sizeof *in);
    for (int i = 0; i < cut->ninputs && !error; i++)
        error = memory_alloc("activations", (size_t)(a->batch * floats_of(a, cut->input[i])), sizeof(float),
                             (void **)&padded[i]);
    if (!error) error = a->machine->engine->compile(cut, &options, &exec);
    if (!error) error = exec_set_params(exec, a->params);
    if (!error) error = run_blocks(a, cut, exec, padded, in, out);
    exec_destroy(&exec);
    for (int i = 0; padded && i < cut->ninputs; i++) free(padded[i]);
    free(padded);
    free(in);
    return error;
}

status activations_cut(const struct activations *a, int n, const int *values, struct opgraph **cut) {
    int ninputs = 0, *inputs = calloc((size_t)a->graph->nvalues + 1, sizeof *inputs);
    if (!inputs) return status_no_memory("activations", (size_t)a->graph->nvalues * sizeof *inputs);
    struct opgraph *all = NULL;
    for (int i = 0; i < a->graph->nvalues; i++)
        if (a->value[i]) inputs[ninputs++] = i;
    status error = opgraph_cut(a->graph, ninputs, inputs, n, values, &all);
    if (!error) {
        /* Only the inputs that the values really need, so that no others are moved through the engine. */
        int used = 0;
        for (int i = 0; i < ninputs; i++) {
            bool needed = false;
            for (int j = 0; j < all->nops && !needed; j++)
                for (int k = 0; k < all->op[j].nin; k++) needed = needed || all->op[j].in[k] == inputs[i];
            if (needed) inputs[used++] = inputs[i];
        }
        error = opgraph_cut(a->graph, used, inputs, n, values, cut);
    }
    opgraph_destroy(&all);
    free(inputs);
    return error;
}

/* Computes `n` values from the frontier. */
static status compute(struct activations *a, int n, const int *values, float *const *out) {
    struct opgraph *cut = NULL;
    STATUS_TRY(activations_cut(a, n, values, &cut));
    status error = run_cut(a, cut, out);
    opgraph_destroy(&cut);
    return error;
}

status activations_compute(struct activations *a, int value, float **data) {
    float *out = NULL;
    STATUS_TRY(allocate(a, value, &out));
    status error = compute(a, 1, &value, &out);
    if (error) {
        free(out);
        return error;
    }
    *data = out;
    return SUCCESS;
}

/* Is `value`, computed before operation `op`, read by it or a later one, or an output? */
static bool lives(const struct opgraph *g, int value, int op) {
    for (int i = op; i < g->nops; i++)
        for (int j = 0; j < g->op[i].nin; j++)
            if (g->op[i].in[j] == value) return true;
    for (int i = 0; i < g->noutputs; i++)
        if (g->output[i] == value) return true;
    return false;
}

status activations_advance(struct activations *a, int op) {
    const struct opgraph *g = a->graph;
    int n = 0, *wanted = malloc(((size_t)g->nvalues + 1) * sizeof *wanted);
    float **data = calloc((size_t)g->nvalues + 1, sizeof *data);
    status error =
        wanted && data ? SUCCESS : status_no_memory("activations", (size_t)g->nvalues * sizeof *data);
    for (int i = 0; i < op && !error; i++) {
        int value = g->op[i].out;
        if (a->value[value] || !lives(g, value, op)) continue;
        wanted[n] = value;
        error = allocate(a, value, &data[n]);
        n++;
    }
    if (!error && n) error = compute(a, n, wanted, data);
    for (int i = 0; i < n && error; i++) free(data[i]);
    for (int i = 0; i < n && !error; i++) a->value[wanted[i]] = data[i];
    for (int i = 0; i < g->nvalues && !error; i++)
        if (a->value[i] && !lives(g, i, op)) forget(a, i);
    free(wanted);
    free(data);
    return error;
}

#include "worker/ranges.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BYTES ((double)(1 << 28)) /* of values at a time, but one sample's at least */

enum {
    BLOCK = 16,
    /* samples at a time, at most */ STEPS = 2048,
    LEAST = STEPS / 16 /* of the steps, that are kept */
};

struct measure {
    const struct machine *machine;
    const struct opgraph *all; /* whose outputs are all values */
    struct exec *exec;
    int64_t size;   /* samples at a time */
    float *block;   /* (size, ...) */
    double *most;   /* [2 * noutputs] largest -x, largest x of each output */
    double *counts; /* [noutputs][STEPS] of |x|, up to its largest */
};

/* The graph with all values that operations give as outputs, and the input as the last. */
static status all_values(const struct opgraph *graph, struct opgraph **all) {
    int *value = malloc(((size_t)graph->nops + 1) * sizeof *value);
    if (!value) return status_no_memory("a list of values", (size_t)graph->nops * sizeof *value);
    for (int i = 0; i < graph->nops; i++) value[i] = graph->op[i].out;
    value[graph->nops] = graph->input[0];
    status error = opgraph_cut(graph, 1, graph->input, graph->nops + 1, value, all);
    free(value);
    return error;
}

static int64_t output_count(const struct measure *m, int i) {
    return shape_sample_count(&m->all->value[m->all->output[i]]);
}

static void see_most(struct measure *m, int i, const float *v, int64_t count) {
    float low = 0, high = 0;
    bool finite = true;
    for (int64_t k = 0; k < count; k++) {
        low = v[k] < low ? v[k] : low;
        high = v[k] > high ? v[k] : high;
        finite = finite && isfinite(v[k]);
    }
    m->most[2 * i] = fmax(m->most[2 * i], finite ? -low : INFINITY);
    m->most[2 * i + 1] = fmax(m->most[2 * i + 1], finite ? high : INFINITY);
}

static double largest(const struct measure *m, int i) {
    return fmax(m->most[2 * i], m->most[2 * i + 1]);
}

static void see_counts(struct measure *m, int i, const float *v, int64_t count) {
    const double most = largest(m, i);
    if (!(most > 0)) return;
    const float factor = (float)(STEPS / most);
    double *counts = m->counts + (size_t)i * STEPS;
    for (int64_t k = 0; k < count; k++) {
        const int at = (int)(fabsf(v[k]) * factor);
        counts[at < STEPS ? at : STEPS - 1]++;
    }
}

/* Runs all samples of this rank; `see` gets the values of each output. */
static status run(struct measure *m, int64_t n, const float *x,
                  void (*see)(struct measure *m, int i, const float *v, int64_t count)) {
    const int64_t sample = output_count(m, m->all->noutputs - 1);
    for (int64_t first = 0; first < n; first += m->size) {
        const int64_t k = n - first < m->size ? n - first : m->size;
        for (int64_t i = 0; i < m->size; i++) /* the last sample fills the block up */
            memcpy(m->block + i * sample, x + (first + (i < k ? i : k - 1)) * sample,
                   (size_t)sample * sizeof *x);
        STATUS_TRY(exec_forward(m->exec, (const float *const *)&m->block));
        for (int i = 0; i < m->all->noutputs; i++) see(m, i, exec_output(m->exec, i), k * output_count(m, i));
    }
    return SUCCESS;
}

/* Squared error of values up to `most`, counted by steps, that are stored in `levels` steps up to step
 * `kept`: half a level's rounding within, clipping beyond. */
static double error_of(const double *counts, int kept, double levels) {
    double within = 0, beyond = 0;
    for (int i = 0; i < kept; i++) within += counts[i];
    for (int i = kept; i < STEPS; i++) {
        const double over = i + 0.5 - kept;
        beyond += counts[i] * over * over;
    }
    return within * (kept / levels) * (kept / levels) / 12 + beyond;
}

static double best_part(const double *counts, double levels) {
    int best = STEPS;
    double least = error_of(counts, STEPS, levels);
    for (int kept = LEAST; kept < STEPS; kept += STEPS / 128) {
        const double error = error_of(counts, kept, levels);
        if (error < least) {
            least = error;
            best = kept;
        }
    }
    return (double)best / STEPS;
}

static void set_ranges(const struct measure *m, struct value_range *range) {
    for (int i = 0; i < m->all->noutputs; i++) {
        const bool input = i == m->all->noutputs - 1;
        const double low = -m->most[2 * i], high = m->most[2 * i + 1];
        const double part =
            input ? 1 : best_part(m->counts + (size_t)i * STEPS, low < 0 ? INT8_MAX : UINT8_MAX);
        const double kept = part * largest(m, i);
        /* + 0: there is no -0, which would be written in another way */
        range[m->all->output[i]] =
            (struct value_range){(float)(fmax(low, -kept) + 0.0), (float)(fmin(high, kept) + 0.0)};
    }
}

/* What comes out does not depend on it. */
static int64_t samples_at_a_time(const struct measure *m) {
    double bytes = 0;
    for (int i = 0; i < m->all->noutputs; i++) bytes += (double)output_count(m, i) * (double)sizeof(float);
    const double fit = BYTES / bytes;
    return fit < 1 ? 1 : fit < BLOCK ? (int64_t)fit : BLOCK;
}

static status measure_all(struct measure *m, struct params *params, int64_t n, const float *x,
                          struct value_range *range) {
    const struct comm *world = m->machine->world;
    const size_t outputs = (size_t)m->all->noutputs;
    m->size = samples_at_a_time(m);
    const struct exec_options options = {
        .batch = m->size, .mode = EXEC_INFER, .threads = m->machine->threads};
    status error = m->machine->engine->compile(m->all, &options, &m->exec);
    if (!error) error = exec_set_params(m->exec, params);
    if (!error)
        error = memory_alloc("samples", (size_t)(m->size * output_count(m, m->all->noutputs - 1)),
                             sizeof *m->block, (void **)&m->block);
    if (!error) error = memory_alloc("ranges", 2 * outputs, sizeof *m->most, (void **)&m->most);
    if (!error) error = memory_alloc("histograms", outputs * STEPS, sizeof *m->counts, (void **)&m->counts);
    if (!error) error = run(m, n, x, see_most);
    STATUS_TRY(comm_agree(world, error));
    STATUS_TRY(comm_max_f64(world, m->most, 2 * outputs));
    for (size_t i = 0; i < 2 * outputs; i++)
        if (!isfinite(m->most[i]))
            return status_fail(STATUS_DATA, "the model computes values that are not finite on the samples");
    STATUS_TRY(comm_agree(world, run(m, n, x, see_counts)));
    STATUS_TRY(comm_sum_f64(world, m->counts, outputs * STEPS)); /* whole numbers: exact */
    set_ranges(m, range);
    return SUCCESS;
}

status ranges_measure(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      int64_t n, const float *x, struct value_range *range) {
    struct measure m = {.machine = machine};
    struct opgraph *all = NULL;
    for (int v = 0; v < graph->nvalues; v++) range[v] = (struct value_range){NAN, NAN};
    if (graph->ninputs != 1)
        return status_fail(STATUS_UNSUPPORTED, "the model has %d inputs; ranges are measured for one",
                           graph->ninputs);
    STATUS_TRY(comm_agree(machine->world, all_values(graph, &all)));
    m.all = all;
    status error = measure_all(&m, params, n, x, range);
    exec_destroy(&m.exec);
    opgraph_destroy(&all);
    free(m.block);
    free(m.most);
    free(m.counts);
    return error;
}

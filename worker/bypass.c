#include "worker/bypass.h"

#include "worker/activations.h"
#include "worker/grid.h"
#include "worker/outcome.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS 8 /* of calibration samples that are looked at */

/* This rank's samples, and what the model gives for them. */
struct look {
    const struct machine *machine;
    const struct bypass_task *task;
    int64_t n;
    float *x;
    float **wanted; /* [graph->noutputs] before a softmax */
};

static void close_look(struct look *l) {
    for (int i = 0; l->wanted && i < l->task->graph->noutputs; i++) free(l->wanted[i]);
    free(l->wanted);
    free(l->x);
}

/* Some of all ranks' blocks, evenly spread, so that every rank has its share of them. */
static status take_samples(struct look *l) {
    const struct calibration *c = l->task->calibration;
    int64_t nblocks = (c->total + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK,
            every = (nblocks + BLOCKS - 1) / BLOCKS;
    STATUS_TRY(memory_alloc("samples", (size_t)(c->n * c->sample), sizeof *l->x, (void **)&l->x));
    for (int64_t at = 0; at < c->n; at += CALIBRATION_BLOCK) {
        int64_t n = c->n - at < CALIBRATION_BLOCK ? c->n - at : CALIBRATION_BLOCK;
        if ((c->first + at / CALIBRATION_BLOCK) % every) continue;
        memcpy(l->x + l->n * c->sample, c->x + at * c->sample, (size_t)(n * c->sample) * sizeof *l->x);
        l->n += n;
    }
    return SUCCESS;
}

/* ---- a graph with bypasses ---- */

static void redirect(const int *by, int *value) {
    while (by[*value] >= 0) *value = by[*value];
}

status bypass_graph(const struct bypass_task *t, const bool *bypassed, struct opgraph **graph) {
    const struct opgraph *from = t->graph;
    struct opgraph *all = NULL;
    size_t nvalues = (size_t)from->nvalues + 1, noutputs = (size_t)from->noutputs + 1;
    int *by = malloc(nvalues * sizeof *by), *output = malloc(noutputs * sizeof *output);
    status error = by && output ? SUCCESS : status_no_memory("an operation graph", nvalues * sizeof *by);
    if (!error) error = opgraph_cut(from, from->ninputs, from->input, from->noutputs, from->output, &all);
    if (!error) {
        memset(by, -1, nvalues * sizeof *by);
        for (int i = 0; i < t->ncandidates; i++)
            if (bypassed[i]) by[t->candidate[i].value] = t->candidate[i].by;
        for (int i = 0; i < all->nops; i++)
            for (int j = 0; j < all->op[i].nin; j++) redirect(by, &all->op[i].in[j]);
        for (int i = 0; i < from->noutputs; i++) {
            output[i] = from->output[i];
            redirect(by, &output[i]);
        }
        error = opgraph_cut(all, from->ninputs, from->input, from->noutputs, output, graph);
    }
    opgraph_destroy(&all);
    free(by);
    free(output);
    return error;
}

/* ---- errors ---- */

static status outputs_of(const struct look *l, const struct opgraph *graph, float **y) {
    struct activations *a = NULL;
    STATUS_TRY(activations_create(l->machine, graph, l->task->params, l->x, l->n, CALIBRATION_BLOCK, &a));
    status error = SUCCESS;
    for (int i = 0; i < graph->noutputs && !error; i++)
        error = activations_compute(a, opgraph_before_softmax(graph, graph->output[i]), &y[i]);
    activations_destroy(&a);
    return error;
}

static status add_errors(const struct look *l, const struct opgraph *graph, double *sum) {
    const struct opgraph *full = l->task->graph;
    float **y = calloc((size_t)graph->noutputs + 1, sizeof *y), *copy = NULL;
    status error = y ? outputs_of(l, graph, y) : status_no_memory("outputs", 0);
    for (int i = 0; i < graph->noutputs && !error; i++) {
        int value = opgraph_before_softmax(full, full->output[i]);
        const struct shape *shape = &full->value[value];
        struct outcome outcome = outcome_of(full, value);
        int64_t m = shape->dim[shape->rank - 1], floats = l->n * shape_sample_count(shape);
        error = memory_alloc("outputs", (size_t)floats, sizeof *copy, (void **)&copy);
        if (error) break;
        memcpy(copy, l->wanted[i], (size_t)floats * sizeof *copy); /* comparing changes it */
        outcome_compare(&outcome, floats / m, m, false, copy, y[i], sum);
        free(copy);
    }
    for (int i = 0; y && i < graph->noutputs; i++) free(y[i]);
    free(y);
    return error;
}

/* Relative error of all outputs with these bypasses. Collective. */
static status error_of(const struct look *l, const bool *bypassed, double *error) {
    struct opgraph *graph = NULL;
    double sum[2] = {0, 0};
    status failed = bypass_graph(l->task, bypassed, &graph);
    if (!failed) failed = add_errors(l, graph, sum);
    opgraph_destroy(&graph);
    STATUS_TRY(comm_agree(l->machine->world, failed));
    STATUS_TRY(comm_sum_f64(l->machine->world, sum, 2));
    *error = sum[1] > 0 ? grid_coarse(sum[0] / sum[1]) : 0;
    return SUCCESS;
}

/* Is anything left to be bypassed at a candidate? */
static status is_computed(const struct bypass_task *t, const bool *bypassed, int candidate, bool *computed) {
    struct opgraph *graph = NULL;
    STATUS_TRY(bypass_graph(t, bypassed, &graph));
    *computed = !bypassed[candidate] && opgraph_producer(graph, t->candidate[candidate].value) >= 0;
    opgraph_destroy(&graph);
    return SUCCESS;
}

/* ---- the choice ---- */

static status choose_next(const struct look *l, bool *bypassed, int *best, double *least, double *single) {
    const struct bypass_task *t = l->task;
    *best = -1;
    for (int i = 0; i < t->ncandidates; i++) {
        bool computed = false;
        double error = 0;
        STATUS_TRY(comm_agree(l->machine->world, is_computed(t, bypassed, i, &computed)));
        if (!computed) continue;
        bypassed[i] = true;
        status failed = error_of(l, bypassed, &error);
        bypassed[i] = false;
        STATUS_TRY(failed);
        if (single) single[i] = error;
        if (*best >= 0 && error >= *least) continue;
        *best = i;
        *least = error;
    }
    return SUCCESS;
}

static status choose(const struct look *l, bool *bypassed, int *chosen, double *cost, double *single) {
    const struct bypass_task *t = l->task;
    for (int n = 0; n < t->count; n++) {
        STATUS_TRY(choose_next(l, bypassed, &chosen[n], &cost[n], n ? NULL : single));
        if (chosen[n] < 0)
            return status_fail(
                STATUS_USAGE,
                "only %d residual blocks can be left out one after another, not %d: the others "
                "are within them",
                n, t->count);
        bypassed[chosen[n]] = true;
        log_progress(l->machine->log, n + 1, NULL);
    }
    return SUCCESS;
}

status bypass_choose(const struct machine *machine, const struct bypass_task *task, int *chosen, double *cost,
                     double *single) {
    struct look l = {.machine = machine, .task = task};
    bool *bypassed = calloc((size_t)task->ncandidates + 1, sizeof *bypassed);
    l.wanted = calloc((size_t)task->graph->noutputs + 1, sizeof *l.wanted);
    status error = bypassed && l.wanted ? take_samples(&l) : status_no_memory("outputs", 0);
    if (!error) error = outputs_of(&l, task->graph, l.wanted);
    error = comm_agree(machine->world, error);
    log_progress_begin(machine->log, "residual blocks", "blocks", task->count);
    if (!error) error = choose(&l, bypassed, chosen, cost, single);
    log_progress_end(machine->log);
    close_look(&l);
    free(bypassed);
    return error;
}

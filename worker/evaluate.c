#include "worker/evaluate.h"

#include "shared/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EVALUATE_BATCH 256

/* Factors on the logits: a temperature is one over it. */
static const double factor[] = {1, 0.25, 0.35, 0.5, 0.7, 1.4, 2, 2.8, 4};
#define FACTORS ((int)(sizeof factor / sizeof *factor))

struct sums {
    double loss[FACTORS];
    int64_t correct;
};

static void add_sample(const float *z, int64_t classes, int32_t label, struct sums *sums) {
    int64_t top = 0;
    for (int64_t j = 1; j < classes; j++)
        if (z[j] > z[top]) top = j;
    sums->correct += top == label;
    for (int f = 0; f < FACTORS; f++) {
        double sum = 0;
        for (int64_t j = 0; j < classes; j++) sum += exp(factor[f] * ((double)z[j] - z[top]));
        sums->loss[f] += log(sum) - factor[f] * ((double)z[label] - z[top]);
    }
}

static status evaluate_share(const struct machine *machine, const struct opgraph *graph,
                             struct params *params, struct dataset *dataset, enum dataset_part part,
                             const int32_t *labels, struct sums *sums) {
    int64_t size = dataset_size(dataset, part);
    int64_t classes = shape_sample_count(&graph->value[graph->output[0]]);
    int64_t batch = size < EVALUATE_BATCH ? size : EVALUATE_BATCH, nblocks = (size + batch - 1) / batch;
    int rank = comm_rank(machine->world), ranks = comm_size(machine->world);
    int64_t index[EVALUATE_BATCH];
    int32_t label[EVALUATE_BATCH];
    struct forward *forward = NULL;
    STATUS_TRY(forward_create(machine, graph, params, batch, &forward));
    status error = SUCCESS;
    for (int64_t block = rank; block < nblocks && !error; block += ranks) {
        int64_t n = size - block * batch < batch ? size - block * batch : batch;
        for (int64_t i = 0; i < n; i++) index[i] = block * batch + i;
        error = forward_samples(forward, dataset, part, index, n, labels ? NULL : label);
        for (int64_t i = 0; i < n && !error; i++)
            add_sample(forward_output(forward, 0) + i * classes, classes,
                       labels ? labels[index[i]] : label[i], sums);
    }
    forward_destroy(&forward);
    return error;
}

status evaluate_against(const struct machine *machine, const struct opgraph *graph, struct params *params,
                        struct dataset *dataset, enum dataset_part part, const int32_t *label,
                        struct evaluation *evaluation) {
    struct sums sums = {0};
    status error = SUCCESS;
    if (dataset_size(dataset, part) > 0)
        error = evaluate_share(machine, graph, params, dataset, part, label, &sums);
    STATUS_TRY(comm_agree(machine->world, error));
    double sum[FACTORS + 1] = {[FACTORS] = (double)sums.correct};
    memcpy(sum, sums.loss, sizeof sums.loss);
    STATUS_TRY(comm_sum_f64(machine->world, sum, FACTORS + 1));
    int64_t n = dataset_size(dataset, part);
    *evaluation = (struct evaluation){.samples = n, .correct = (int64_t)sum[FACTORS]};
    if (n == 0) return SUCCESS;
    double least = sum[0];
    for (int f = 1; f < FACTORS; f++)
        if (sum[f] < least) least = sum[f];
    evaluation->loss = sum[0] / (double)n;
    evaluation->calibrated_loss = least / (double)n;
    evaluation->accuracy = sum[FACTORS] / (double)n;
    return SUCCESS;
}

status evaluate(const struct machine *machine, const struct opgraph *graph, struct params *params,
                struct dataset *dataset, enum dataset_part part, struct evaluation *evaluation) {
    return evaluate_against(machine, graph, params, dataset, part, NULL, evaluation);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Random inputs for all of the graph's, (batch, ...) each; owned by the caller, on failure too. */
static status random_inputs(const struct opgraph *graph, int64_t batch, float **x) {
    struct rng rng = rng_make(1, RNG_CALIBRATION, 0);
    for (int k = 0; k < graph->ninputs; k++) {
        int64_t n = batch * shape_sample_count(&graph->value[graph->input[k]]);
        STATUS_TRY(memory_alloc("inputs", (size_t)n, sizeof **x, (void **)&x[k]));
        for (int64_t i = 0; i < n; i++) x[k][i] = (float)rng_uniform(&rng);
    }
    return SUCCESS;
}

static status time_runs(struct exec *exec, const float *const *x, double seconds, double *median_s) {
    enum { RUNS_MAX = 2000, RUNS_MIN = 5, WARM_UP = 3 };
    double *time = NULL, begin = comm_time();
    int runs = 0;
    status error = memory_alloc("times", RUNS_MAX, sizeof *time, (void **)&time);
    for (int i = 0; i < WARM_UP + RUNS_MAX && (runs < RUNS_MIN || comm_time() - begin < seconds); i++) {
        double start = comm_time();
        if (!error) error = exec_forward(exec, x);
        if (error) break;
        if (i >= WARM_UP && runs < RUNS_MAX) time[runs++] = comm_time() - start;
    }
    if (!error) {
        qsort(time, (size_t)runs, sizeof *time, compare);
        *median_s = time[runs / 2];
    }
    free(time);
    return error;
}

status measure_latency(const struct machine *machine, const struct opgraph *graph, struct params *params,
                       int64_t batch, double seconds, double *median_s) {
    struct exec_options options = machine_forward_options(machine, batch);
    struct exec *exec = NULL;
    float **x = calloc((size_t)graph->ninputs + 1, sizeof *x);
    status error = x ? random_inputs(graph, batch, x) : status_no_memory("inputs", 0);
    if (!error) error = machine->engine->compile(graph, &options, &exec);
    if (!error) error = exec_set_params(exec, params);
    if (!error) error = time_runs(exec, (const float *const *)x, seconds, median_s);
    exec_destroy(&exec);
    for (int k = 0; x && k < graph->ninputs; k++) free(x[k]);
    free(x);
    return error;
}

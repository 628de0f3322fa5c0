#include "worker/slice_cost.h"

#include "shared/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 7                        /* of each slice, after two that do not count */
#define PROBE_BYTES ((size_t)1 << 20) /* of a message whose speed is measured */
#define PROBE_RUNS 8

void slice_cost_free(struct slice_cost *c) {
    free(c->compute);
    free(c->transfer);
    free(c->sum);
    free(c->bytes);
    *c = (struct slice_cost){0};
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status random_floats(int64_t n, float **x) {
    struct rng rng = rng_make(1, RNG_CALIBRATION, 1);
    STATUS_TRY(memory_alloc("activations", (size_t)n, sizeof **x, (void **)x));
    for (int64_t i = 0; i < n; i++) (*x)[i] = (float)rng_uniform(&rng);
    return SUCCESS;
}

/* Median seconds of a run of the graph: forward, and backward too in training. */
static status time_graph(const struct machine *machine, const struct opgraph *graph, int64_t batch,
                         enum exec_mode mode, bool input_grads, double *seconds) {
    struct exec_options options = {.batch = batch,
                                   .mode = mode,
                                   .threads = machine->threads,
                                   .batch_norm = BATCH_NORM_FROZEN,
                                   .input_grads = input_grads};
    struct exec *exec = NULL;
    struct params *params = NULL, *grads = NULL;
    float *x = NULL, *y = NULL;
    double time[RUNS];
    status error = params_create_part(graph, &params);
    if (!error) error = params_create_part(graph, &grads);
    for (int64_t i = 0; !error && i < params->total; i++) params->data[i] = 0.01f;
    if (!error) error = random_floats(batch * shape_sample_count(&graph->value[graph->input[0]]), &x);
    if (!error) error = random_floats(batch * shape_sample_count(&graph->value[graph->output[0]]), &y);
    if (!error) error = machine->engine->compile(graph, &options, &exec);
    if (!error) error = exec_set_params(exec, params);
    for (int i = -2; i < RUNS && !error; i++) {
        double begin = comm_time();
        error = exec_forward(exec, (const float *const[]){x});
        if (!exec_goes_on(error)) break; /* a number that is no id is nothing here */
        status_drop(&error);
        if (mode == EXEC_TRAIN) error = exec_backward(exec, (const float *const[]){y}, grads);
        if (i >= 0) time[i] = comm_time() - begin;
    }
    if (!error) {
        qsort(time, RUNS, sizeof *time, compare);
        *seconds = time[RUNS / 2];
    }
    exec_destroy(&exec);
    params_destroy(&params);
    params_destroy(&grads);
    free(x);
    free(y);
    return error;
}

/* The source runs where it is not cached: for the boundaries, or for its logits. */
static bool needs_source(const struct slice_task *task, int slice, bool cached) {
    const struct slicing *s = task->slicing;
    return !cached && s->boundary[slice + 1].source >= 0 && (!task->joint || slice_distils(task));
}

static status measure_slice(const struct machine *machine, const struct slice_task *task, bool cached,
                            int slice, struct slice_cost *c) {
    const struct training_config *config = task->config;
    int64_t micro = config->batch / config->slices.micro_batches;
    struct opgraph *source = NULL, *target = NULL;
    struct params *all = NULL;
    double run = 0;
    status error = slicing_cut_target(task->slicing, slice, slice + 1, &target);
    if (!error)
        error = time_graph(machine, target, micro, EXEC_TRAIN, task->joint && slice > 0, &c->compute[slice]);
    if (!error) error = params_create_part(target, &all);
    if (!error) {
        c->sum[slice] = (double)all->ntrainable * sizeof(float);
        c->bytes[slice] = (double)(all->total * 3 + all->ntrainable * 4) * sizeof(float);
    }
    params_destroy(&all);
    if (!error) error = slicing_cut_source(task->slicing, slice, slice + 1, true, &source);
    if (!error) error = params_create_part(source, &all);
    if (!error) c->bytes[slice] += (double)all->total * sizeof(float);
    if (!error && source->noutputs && needs_source(task, slice, cached))
        error = time_graph(machine, source, micro, EXEC_INFER, false, &run);
    c->compute[slice] = (c->compute[slice] + run) * (double)config->slices.micro_batches;
    params_destroy(&all);
    opgraph_destroy(&source);
    opgraph_destroy(&target);
    return error;
}

/* Seconds of a byte between two ranks, in both directions at once, as neighbouring stages send. */
static status probe(const struct machine *machine, double *seconds) {
    const struct comm *world = machine->world;
    int rank = comm_rank(world), peer = rank ^ 1;
    char *out = NULL, *in = NULL;
    *seconds = 0;
    status error = memory_alloc("a message", PROBE_BYTES, 1, (void **)&out);
    if (!error) error = memory_alloc("a message", PROBE_BYTES, 1, (void **)&in);
    STATUS_TRY(comm_agree(world, error));
    double begin = comm_time();
    for (int i = 0; i < PROBE_RUNS && peer < comm_size(world) && !error; i++) {
        struct comm_message *sent = NULL, *got = NULL;
        error = comm_recv_begin(world, peer, 1, in, PROBE_BYTES, &got);
        if (!error) error = comm_send_begin(world, peer, 1, out, PROBE_BYTES, &sent);
        error = status_first(error, comm_message_end(&got));
        error = status_first(error, comm_message_end(&sent));
    }
    if (peer < comm_size(world)) *seconds = (comm_time() - begin) / (double)(2 * PROBE_RUNS * PROBE_BYTES);
    free(out);
    free(in);
    STATUS_TRY(comm_agree(world, error));
    return comm_max_f64(world, seconds, 1);
}

/* Bytes of a batch that cross a boundary. */
static double bytes_across(const struct slice_task *task, int boundary, bool cached) {
    const struct slicing *s = task->slicing;
    double floats = 0;
    if (boundary == 0 || boundary == s->nslices) return 0;
    if (task->joint) floats += 2 * (double)slicing_target_floats(s, boundary);
    else if (task->config->slices.progressive > 0) floats += (double)slicing_target_floats(s, boundary);
    if (needs_source(task, boundary - 1, cached)) floats += (double)slicing_source_floats(s, boundary);
    return floats * sizeof(float) * (double)task->config->batch;
}

static status alloc(int n, struct slice_cost *c) {
    double **array[] = {&c->compute, &c->transfer, &c->sum, &c->bytes};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++)
        STATUS_TRY(memory_alloc("slices", (size_t)n + 1, sizeof(double), (void **)array[i]));
    return SUCCESS;
}

status slice_cost_measure(const struct machine *machine, const struct slice_task *task, bool cached,
                          bool flushed, struct slice_cost *c) {
    const struct comm *world = machine->world;
    int n = task->slicing->nslices;
    double byte_s = 0;
    *c = (struct slice_cost){0};
    status error = comm_agree(world, alloc(n, c));
    if (!error) error = probe(machine, &byte_s);
    for (int i = comm_rank(world); i < n && !error; i += comm_size(world))
        error = measure_slice(machine, task, cached, i, c);
    STATUS_TRY(comm_agree(world, error));
    double *measured[] = {c->compute, c->sum, c->bytes};
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++)
        STATUS_TRY(comm_sum_f64(world, measured[i], (size_t)n));
    for (int i = 0; i < n; i++) c->sum[i] *= 2 * byte_s; /* there and back */
    for (int b = 0; b <= n; b++) c->transfer[b] = bytes_across(task, b, cached) * byte_s;
    c->cost = (struct stages_cost){.nslices = n,
                                   .compute = c->compute,
                                   .transfer = c->transfer,
                                   .sum = c->sum,
                                   .bytes = c->bytes,
                                   .bytes_limit = task->config->slices.rank_mib * 1048576,
                                   .micro_batches = task->config->slices.micro_batches,
                                   .flushed = flushed};
    return SUCCESS;
}

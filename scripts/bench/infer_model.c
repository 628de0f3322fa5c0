/* Times inference of a model on random inputs, and says where the time goes.
 *
 * infer_model [-a ALIASES] [-s HxWxC] [-b BATCH] [-t THREADS] [-d SECONDS] [-e ENGINE] [-q PRECISION] [-p]
 * MODEL
 *
 * Prints the median milliseconds of one forward pass. -p prints a roofline instead: for each step its time,
 * GFLOP/s (by the definition of the operation, whatever algorithm computes it), bytes (inputs, outputs and
 * parameters once), and what part of the machine's limit that is: of the larger of the two times that the
 * operations take at the measured speed of a large matrix product, and the bytes at the measured speed of
 * memory. */
#include "worker/engine.h"
#include "worker/engines/onednn/profile.h"

#include "io/quantization.h"
#include "shared/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct job {
    const char *model, *engine, *aliases;
    struct shape shape; /* (batch, height, width, channels); unknown where not given */
    int64_t batch;
    int threads;
    double seconds;
    bool profile;
    enum precision precision; /* int8 needs a model that godwit calibrate made */
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- the machine's limits ---- */

/* Operations a second of a 1024 x 1024 x 1024 matrix product, as a dense layer. */
static status gemm_speed(const struct engine *engine, int threads, double *speed) {
    enum { N = 1024 };
    struct opgraph *graph = NULL;
    struct exec *exec = NULL;
    struct params *params = NULL;
    int in, out;
    struct param kernel = {.shape = SHAPE(N, N), .trainable = true};
    struct op dense = {.kind = OP_DENSE, .nin = 1, .in = &in, .param = {0, -1, -1, -1}};
    struct exec_options options = {.batch = N, .mode = EXEC_INFER, .threads = threads};
    float *x;
    STATUS_TRY(memory_alloc("a matrix", (size_t)N * N, sizeof *x, (void **)&x));
    STATUS_TRY(opgraph_create(&graph));
    STATUS_TRY(opgraph_add_value(graph, &SHAPE(SHAPE_UNKNOWN, N), &in));
    STATUS_TRY(opgraph_add_param(graph, &kernel, &dense.param[0]));
    STATUS_TRY(opgraph_add_op(graph, &dense, &SHAPE(SHAPE_UNKNOWN, N), &out));
    STATUS_TRY(opgraph_set_io(graph, 1, &in, 1, &out));
    STATUS_TRY(engine->compile(graph, &options, &exec));
    STATUS_TRY(params_create(graph, &params));
    STATUS_TRY(exec_set_params(exec, params));
    double best = INFINITY;
    for (int i = 0; i < 20; i++) {
        double start = now();
        STATUS_TRY(exec_forward(exec, (const float *const *)&x));
        best = fmin(best, now() - start);
    }
    *speed = 2.0 * N * N * N / best;
    exec_destroy(&exec);
    params_destroy(&params);
    opgraph_destroy(&graph);
    free(x);
    return SUCCESS;
}

/* Bytes a second of copying memory that no cache holds: read and written. */
static status memory_speed(int threads, double *speed) {
    const size_t n = (size_t)64 << 20;
    float *a, *b;
    STATUS_TRY(memory_alloc("an array", n / sizeof *a, sizeof *a, (void **)&a));
    STATUS_TRY(memory_alloc("an array", n / sizeof *b, sizeof *b, (void **)&b));
    double best = INFINITY;
    for (int i = 0; i < 7; i++) {
        double start = now();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++)
            memcpy((char *)b + n / (size_t)threads * (size_t)t, (char *)a + n / (size_t)threads * (size_t)t,
                   n / (size_t)threads);
        best = fmin(best, now() - start);
    }
    *speed = 2.0 * (double)n / best;
    free(a);
    free(b);
    return SUCCESS;
}

/* ---- the model ---- */

static status read_model(const struct job *job, struct model **model) {
    struct keras_options options = {.aliases = job->aliases};
    STATUS_TRY(model_read(job->model, &options, model));
    const struct opgraph *ops = (*model)->ops;
    struct shape shape[16];
    if (ops->ninputs > 16) return status_fail(STATUS_UNSUPPORTED, "more than 16 inputs");
    for (int i = 0; i < ops->ninputs; i++) {
        shape[i] = ops->value[ops->input[i]];
        for (int k = 1; k < shape[i].rank; k++)
            if (shape[i].dim[k] == SHAPE_UNKNOWN && k < job->shape.rank) shape[i].dim[k] = job->shape.dim[k];
    }
    return model_set_inputs(*model, shape);
}

static status random_inputs(const struct opgraph *ops, int64_t batch, float **x) {
    struct rng rng = rng_make(1, RNG_INIT, 0);
    for (int i = 0; i < ops->ninputs; i++) {
        const int64_t count = batch * shape_sample_count(&ops->value[ops->input[i]]);
        STATUS_TRY(memory_alloc("inputs", (size_t)count, sizeof(float), (void **)&x[i]));
        for (int64_t k = 0; k < count; k++) x[i][k] = (float)rng_uniform(&rng);
    }
    return SUCCESS;
}

static status time_forward(const struct job *job, struct exec *exec, const float *const *x) {
    enum { MOST = 1 << 20 };
    double *ms, end = now() + job->seconds;
    int n = 0;
    STATUS_TRY(memory_alloc("times", MOST, sizeof *ms, (void **)&ms));
    while (n < 5 || (n < MOST && now() < end)) {
        double start = now();
        STATUS_TRY(exec_forward(exec, x));
        ms[n++] = 1e3 * (now() - start);
    }
    qsort(ms, (size_t)n, sizeof *ms, compare);
    printf("%.6f\n", ms[n / 2]);
    free(ms);
    return SUCCESS;
}

static status print_roofline(const struct job *job, const struct model *model, struct exec *exec,
                             const float *const *x) {
    double flops, bytes, total = 0, ideal = 0, end = now() + job->seconds;
    const struct engine *engine;
    STATUS_TRY(engine_find(job->engine, &engine));
    STATUS_TRY(gemm_speed(engine, job->threads, &flops));
    STATUS_TRY(memory_speed(job->threads, &bytes));
    printf("matrix product %.0f GFLOP/s, memory %.1f GB/s\n", 1e-9 * flops, 1e-9 * bytes);
    onednn_profile_start(exec);
    for (int i = 0; i < 5 || now() < end; i++) STATUS_TRY(exec_forward(exec, x));
    printf("%-28s %-12s %-26s %9s %6s %9s %9s %7s\n", "layer", "operation", "computed by", "us", "% time",
           "GFLOP/s", "MB", "% limit");
    struct onednn_profile p;
    for (int i = 0; onednn_profile_step(exec, i, &p); i++) total += p.forward_s;
    for (int i = 0; onednn_profile_step(exec, i, &p); i++) {
        const double limit = fmax(p.flops / flops, p.bytes / bytes);
        ideal += limit;
        printf("%-28.28s %-12s %-26.26s %9.1f %6.1f %9.1f %9.3f %7.0f\n",
               p.node < 0 ? "" : model->graph->layer[model->graph->node[p.node].layer].name, p.kind,
               p.implementation, 1e6 * p.forward_s, 100 * p.forward_s / total, 1e-9 * p.flops / p.forward_s,
               1e-6 * p.bytes, 100 * limit / p.forward_s);
    }
    printf("all %.1f us, limit %.1f us, %.1f MB held\n", 1e6 * total, 1e6 * ideal,
           1e-6 * (double)exec_memory(exec));
    return SUCCESS;
}

static status run(const struct job *job) {
    const struct engine *engine;
    struct model *model = NULL;
    struct exec *exec = NULL;
    float *x[16] = {0};
    STATUS_TRY(engine_find(job->engine, &engine));
    STATUS_TRY(read_model(job, &model));
    STATUS_TRY(random_inputs(model->ops, job->batch, x));
    struct quantization quantization;
    STATUS_TRY(quantization_read(model, &quantization));
    if (job->precision == PRECISION_INT8 && !quantization.range)
        return status_fail(STATUS_DATA, "%s does not say what its values lie between: use godwit calibrate",
                           job->model);
    struct exec_options options = {.batch = job->batch,
                                   .mode = EXEC_INFER,
                                   .threads = job->threads,
                                   .precision = job->precision,
                                   .range = quantization.range};
    STATUS_TRY(engine->compile(model->ops, &options, &exec));
    quantization_clear(&quantization);
    STATUS_TRY(exec_set_params(exec, model->params));
    for (int i = 0; i < 3; i++) STATUS_TRY(exec_forward(exec, (const float *const *)x));
    status error = job->profile ? print_roofline(job, model, exec, (const float *const *)x)
                                : time_forward(job, exec, (const float *const *)x);
    exec_destroy(&exec);
    model_destroy(&model);
    for (int i = 0; i < 16; i++) free(x[i]);
    return error;
}

static status parse(int argc, char **argv, struct job *job) {
    int option;
    while ((option = getopt(argc, argv, "a:s:b:t:d:e:q:p")) >= 0) {
        long long h, w, c;
        switch (option) {
        case 'a':
            job->aliases = optarg;
            break;
        case 's':
            if (sscanf(optarg, "%lldx%lldx%lld", &h, &w, &c) != 3)
                return status_fail(STATUS_USAGE, "-s: \"%s\" is not like 128x128x3", optarg);
            job->shape = SHAPE(SHAPE_UNKNOWN, h, w, c);
            break;
        case 'b':
            job->batch = atoll(optarg);
            break;
        case 't':
            job->threads = atoi(optarg);
            break;
        case 'd':
            job->seconds = atof(optarg);
            break;
        case 'e':
            job->engine = optarg;
            break;
        case 'q':
            if (precision_find(optarg, &job->precision)) break;
            return status_fail(STATUS_USAGE, "-q: float32, bfloat16 or int8");
        case 'p':
            job->profile = true;
            break;
        default:
            return status_fail(STATUS_USAGE, "unknown option");
        }
    }
    if (optind + 1 != argc || job->batch < 1 || job->threads < 1)
        return status_fail(STATUS_USAGE, "one MODEL, a batch and threads of at least 1");
    if (job->profile && strcmp(job->engine, "onednn") != 0)
        return status_fail(STATUS_USAGE, "-p is for the engine onednn");
    job->model = argv[optind];
    return SUCCESS;
}

int main(int argc, char **argv) {
    struct job job = {.engine = "onednn", .batch = 1, .threads = 1, .seconds = 1};
    status error = parse(argc, argv, &job);
    if (!error) error = run(&job);
    if (!error) return 0;
    fprintf(stderr, "infer_model: %s\n", status_message(error));
    int code = status_exit_code(status_code(error));
    status_drop(&error);
    return code;
}

/* Times training steps (forward and backward) or inference of the Fashion-MNIST network on random data.
 *
 * train_step [BATCH [THREADS [REPETITIONS [MODE]]]]; MODE: train (batch norm), folded (none), infer. */
#include "worker/engine.h"
#include "worker/engines/onednn/profile.h"

#include "shared/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct net {
    struct opgraph *graph;
    bool norm;
    int64_t side, channels;
    int value;
};

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static status add_param(struct net *n, struct shape shape, bool trainable, int *index) {
    struct param param = {.shape = shape, .trainable = trainable};
    return opgraph_add_param(n->graph, &param, index);
}

static status add_op(struct net *n, struct op op, struct shape shape) {
    op.nin = 1;
    op.in = &n->value;
    op.node = n->graph->nops;
    int value;
    STATUS_TRY(opgraph_add_op(n->graph, &op, &shape, &value));
    n->value = value;
    return SUCCESS;
}

/* 3x3 convolution, batch norm (or a bias), ReLU. */
static status add_block(struct net *n, int64_t filters, int stride) {
    struct op conv = {.kind = OP_CONV, .param = {-1, -1, -1, -1}};
    struct op norm = {
        .kind = OP_BATCH_NORM, .param = {-1, -1, -1, -1}, .u.norm = {.epsilon = 1e-3F, .momentum = 0.99F}};
    struct op relu = {.kind = OP_ACTIVATION, .param = {-1, -1, -1, -1}};
    relu.u.act.kind = ACTIVATION_RELU;
    relu.u.act.beta = INFINITY;
    conv.u.conv.window = (struct window){.size = {3, 3}, .stride = {stride, stride}, .dilation = {1, 1}};
    conv.u.conv.groups = 1;
    int64_t in[2] = {n->side, n->side}, out[2];
    window_pad_same(&conv.u.conv.window, in);
    window_output(&conv.u.conv.window, in, out);
    STATUS_TRY(add_param(n, SHAPE(3, 3, n->channels, filters), true, &conv.param[0]));
    if (!n->norm) STATUS_TRY(add_param(n, SHAPE(filters), true, &conv.param[1]));
    n->side = out[0];
    n->channels = filters;
    struct shape shape = SHAPE(SHAPE_UNKNOWN, out[0], out[1], filters);
    STATUS_TRY(add_op(n, conv, shape));
    for (int i = 0; i < 4 && n->norm; i++) STATUS_TRY(add_param(n, SHAPE(filters), i < 2, &norm.param[i]));
    if (n->norm) STATUS_TRY(add_op(n, norm, shape));
    return add_op(n, relu, shape);
}

static status build(struct net *n) {
    static const struct {
        int filters, stride;
    } BLOCKS[] = {{32, 2}, {32, 1}, {32, 1}, {64, 2}, {64, 1}, {128, 2}, {128, 1}};
    STATUS_TRY(opgraph_create(&n->graph));
    STATUS_TRY(opgraph_add_value(n->graph, &SHAPE(SHAPE_UNKNOWN, 28, 28, 1), &n->value));
    int input = n->value;
    n->side = 28;
    n->channels = 1;
    for (size_t i = 0; i < sizeof BLOCKS / sizeof *BLOCKS; i++)
        STATUS_TRY(add_block(n, BLOCKS[i].filters, BLOCKS[i].stride));
    struct op mean = {
        .kind = OP_REDUCE, .param = {-1, -1, -1, -1}, .u.reduce = {.kind = REDUCE_MEAN, .axes = 6}};
    STATUS_TRY(add_op(n, mean, SHAPE(SHAPE_UNKNOWN, n->channels)));
    struct op dense = {.kind = OP_DENSE, .param = {-1, -1, -1, -1}};
    STATUS_TRY(add_param(n, SHAPE(n->channels, 10), true, &dense.param[0]));
    STATUS_TRY(add_param(n, SHAPE(10), true, &dense.param[1]));
    STATUS_TRY(add_op(n, dense, SHAPE(SHAPE_UNKNOWN, 10)));
    return opgraph_set_io(n->graph, 1, &input, 1, &n->value);
}

static void fill(float *v, int64_t n, struct rng *rng, double scale, double offset) {
    for (int64_t i = 0; i < n; i++) v[i] = (float)(offset + scale * rng_normal(rng));
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, double *ms, int n) {
    qsort(ms, (size_t)n, sizeof *ms, compare);
    printf("%-10s minimum %8.3f ms, median %8.3f ms\n", what, ms[0], ms[n / 2]);
}

/* The fastest run of each operation. */
static void print_profile(const struct exec *exec) {
    struct onednn_profile p;
    printf("%-12s %-24s %9s %9s %9s %9s\n", "operation", "implementation", "fwd ms", "GFLOP/s", "bwd ms",
           "GFLOP/s");
    for (int i = 0; onednn_profile_step(exec, i, &p); i++) {
        double f = p.forward_s, b = p.backward_s;
        printf("%-12s %-24s %9.3f %9.1f %9.3f %9.1f\n", p.kind, p.implementation, 1e3 * f, p.flops / f * 1e-9,
               1e3 * b, b > 0 ? 2 * p.flops / b * 1e-9 : 0);
    }
}

static status run(int64_t batch, int threads, int repetitions, const char *mode) {
    struct net net = {.norm = strcmp(mode, "folded") != 0};
    const struct engine *engine;
    struct exec *exec = NULL;
    struct params *params = NULL, *grads = NULL;
    const bool train = strcmp(mode, "infer") != 0;
    STATUS_TRY(build(&net));
    STATUS_TRY(engine_find("onednn", &engine));
    struct exec_options options = {
        .batch = batch, .mode = train ? EXEC_TRAIN : EXEC_INFER, .threads = threads};
    STATUS_TRY(engine->compile(net.graph, &options, &exec));
    STATUS_TRY(params_create(net.graph, &params));
    STATUS_TRY(params_create(net.graph, &grads));
    struct rng rng = rng_make(1, RNG_INIT, 0);
    for (int i = 0; i < params->n; i++) {
        const struct param *p = &net.graph->param[i];
        bool kernel = p->shape.rank > 1;
        double fan_in = (double)p->count / (double)p->shape.dim[p->shape.rank - 1];
        fill(params_at(params, i), p->count, &rng,
             kernel         ? sqrt(2 / fan_in)
             : p->trainable ? 0.1
                            : 0,
             p->trainable ? 0 : 1);
    }
    STATUS_TRY(exec_set_params(exec, params));
    float *x = malloc((size_t)(batch * 28 * 28) * sizeof *x), *dy = malloc((size_t)(batch * 10) * sizeof *dy);
    double *ms = calloc((size_t)repetitions * 3, sizeof *ms);
    if (!x || !dy || !ms) return status_no_memory("a batch", (size_t)(batch * 28 * 28) * sizeof *x);
    fill(x, batch * 28 * 28, &rng, 1, 0);
    fill(dy, batch * 10, &rng, 1 / (double)batch, 0);
    for (int i = -3; i < repetitions; i++) {
        if (i == 0) onednn_profile_start(exec);
        double t0 = now_ms();
        STATUS_TRY(exec_forward(exec, (const float *const *)&(float *){x}));
        double t1 = now_ms();
        if (train) STATUS_TRY(exec_backward(exec, (const float *const *)&(float *){dy}, grads));
        if (i < 0) continue;
        ms[i] = t1 - t0;
        ms[repetitions + i] = now_ms() - t1;
        ms[2 * repetitions + i] = now_ms() - t0;
    }
    printf("batch %lld, %d threads, %s, %.1f MB\n", (long long)batch, threads, mode,
           (double)exec_memory(exec) * 1e-6);
    print_times("forward", ms, repetitions);
    print_times("backward", ms + repetitions, repetitions);
    print_times("step", ms + 2 * repetitions, repetitions);
    print_profile(exec);
    free(x);
    free(dy);
    free(ms);
    params_destroy(&params);
    params_destroy(&grads);
    exec_destroy(&exec);
    opgraph_destroy(&net.graph);
    return SUCCESS;
}

int main(int argc, char **argv) {
    int64_t batch = argc > 1 ? atoll(argv[1]) : 128;
    int threads = argc > 2 ? atoi(argv[2]) : 2, repetitions = argc > 3 ? atoi(argv[3]) : 50;
    status error = run(batch, threads, repetitions > 0 ? repetitions : 1, argc > 4 ? argv[4] : "train");
    if (!error) return 0;
    fprintf(stderr, "train_step: %s\n", status_message(error));
    int code = status_exit_code(status_code(error));
    status_drop(&error);
    return code;
}

/* What the engines compute for recurrent layers and their wrappers, with and without masks, against Keras's
 * recurrences written out. */
#include "engine_check.h"
#include "sequence_formulas.h"
#include "shared/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"

#include <math.h>

#define N 4
#define T 6
#define C 3
#define U 5
#define TOLERANCE 1e-5
#define MAX_INPUTS 5

/* Tokens, embedded; token 0 is masked if the case says so. Sample 0 has none, sample 1 begins with two,
 * sample 2 has some anywhere, sample 3 nothing else. */
struct net {
    struct graph *graph;
    struct opgraph *ops;
    struct params *params;
    float tokens[N * T];
    float state[MAX_INPUTS - 1][N * T]; /* further inputs, (N,U) or tokens */
    double x[N][T][C], mask[N][T];
    int node;
};

static void net_begin(struct net *net, int keras_version, bool masked) {
    build_ok(graph_create("recurrent", &net->graph));
    net->graph->keras_version = keras_version;
    int ids = build_input(net->graph, "ids", "?,6");
    build_layer(net->graph, "Embedding", "e",
                masked ? "input_dim=7 output_dim=3 mask_zero=true" : "input_dim=7 output_dim=3", 1, &ids);
}

static void net_end(struct net *net, int noutputs) {
    for (int i = 0; i < noutputs; i++) build_ok(graph_add_output(net->graph, (struct edge){net->node, i}));
    build_ok(graph_infer(net->graph));
    build_ok(graph_lower(net->graph, &net->ops, NULL));
    build_ok(params_create(net->ops, &net->params));
    struct rng rng = rng_make(11, RNG_INIT, 2);
    for (int64_t i = 0; i < net->params->total; i++)
        net->params->data[i] = (float)(2 * rng_uniform(&rng) - 1);
    const float *table = params_at(net->params, 0);
    for (int n = 0; n < N; n++)
        for (int t = 0; t < T; t++) {
            int token = 1 + (int)(6 * rng_uniform(&rng));
            if (n == 3 || (n == 1 && t < 2) || (n == 2 && (t == 1 || t == 4 || t == 5))) token = 0;
            net->tokens[n * T + t] = (float)token;
            net->mask[n][t] = token != 0;
            for (int c = 0; c < C; c++) net->x[n][t][c] = (double)table[token * C + c];
        }
    for (int i = 0; i < MAX_INPUTS - 1; i++)
        for (int k = 0; k < N * U; k++) net->state[i][k] = (float)(2 * rng_uniform(&rng) - 1);
}

/* expected[i]: output i, of count[i] values. */
static void net_check(struct net *net, int noutputs, const double *const *expected, const int64_t *count) {
    const float *inputs[MAX_INPUTS] = {net->tokens, net->state[0], net->state[1], net->state[2],
                                       net->state[3]};
    struct exec_options options = {.batch = N, .mode = EXEC_INFER, .threads = 1};
    for (int i = 0; i < engine_count(); i++) {
        struct exec *exec = exec_must(engine_at(i), net->ops, &options);
        build_ok(exec_set_params(exec, net->params));
        build_ok(exec_forward(exec, inputs));
        for (int k = 0; k < noutputs; k++)
            assert_close_double(engine_at(i)->name, exec_output(exec, k), expected[k], count[k], TOLERANCE);
        exec_destroy(&exec);
    }
    params_destroy(&net->params);
    opgraph_destroy(&net->ops);
    graph_destroy(&net->graph);
}

static const struct kind {
    const char *class_name, *attrs;
    struct recurrence formula;
    int states;
} kinds[] = {
    {"SimpleRNN", "units=5", {.cell = RECURRENCE_SIMPLE}, 1},
    {"LSTM", "units=5", {.cell = RECURRENCE_LSTM}, 2},
    {"GRU", "units=5 reset_after=false", {.cell = RECURRENCE_GRU}, 1},
    {"GRU", "units=5 reset_after=true", {.cell = RECURRENCE_GRU, .reset_after = true}, 1},
};
#define NKINDS ((int)(sizeof kinds / sizeof kinds[0]))

/* The formula with the parameters from number `first`. */
static struct recurrence formula_of(const struct kind *kind, const struct net *net, int first,
                                    bool backwards) {
    struct recurrence r = kind->formula;
    r.steps = T;
    r.features = C;
    r.units = U;
    r.backwards = backwards;
    r.kernel = params_at(net->params, first);
    r.recurrent = params_at(net->params, first + 1);
    r.bias = params_at(net->params, first + 2);
    return r;
}

static void test_sequences(void **state) {
    (void)state;
    for (int variant = 0; variant < 16 * NKINDS; variant++) {
        const struct kind *kind = &kinds[variant / 16];
        bool masked = variant & 1, backwards = variant & 2, sequences = variant & 4, zeros = variant & 8;
        struct net net;
        char attrs[256];
        double all[N][T][U], last[N][U], h[U], c[U];
        net_begin(&net, 2, masked);
        snprintf(attrs, sizeof attrs, "%s go_backwards=%s return_sequences=%s zero_output_for_mask=%s",
                 kind->attrs, backwards ? "true" : "false", sequences ? "true" : "false",
                 zeros ? "true" : "false");
        int e = build_node(net.graph, "e");
        net.node = build_layer(net.graph, kind->class_name, "r", attrs, 1, &e);
        net_end(&net, 1);
        struct recurrence r = formula_of(kind, &net, 1, backwards);
        for (int n = 0; n < N; n++) {
            memset(h, 0, sizeof h);
            memset(c, 0, sizeof c);
            recurrence_run(&r, net.x[n][0], masked ? net.mask[n] : NULL, h, c, all[n][0]);
            for (int t = 0; t < T; t++)
                if (masked && zeros && net.mask[n][backwards ? T - 1 - t : t] == 0)
                    memset(all[n][t], 0, sizeof all[n][t]);
            memcpy(last[n], all[n][T - 1], sizeof last[n]);
        }
        const double *expected = sequences ? all[0][0] : last[0];
        net_check(&net, 1, &expected, (int64_t[]){sequences ? N * T * U : N * U});
    }
}

/* States in and out. Keras 2 masks the steps, Keras 3 does not where states are given. */
static void test_states(void **state) {
    (void)state;
    for (int variant = 0; variant < 16 * NKINDS; variant++) {
        const struct kind *kind = &kinds[variant / 16];
        bool masked = variant & 1, given = variant & 2, sequences = variant & 4;
        int version = variant & 8 ? 3 : 2, in[3] = {0};
        struct net net;
        char attrs[256];
        double all[N][T][U], last[N][U], h[N][U], c[N][U];
        net_begin(&net, version, masked);
        snprintf(attrs, sizeof attrs, "%s return_state=true return_sequences=%s", kind->attrs,
                 sequences ? "true" : "false");
        in[0] = build_node(net.graph, "e");
        in[1] = build_input(net.graph, "h", "?,5");
        in[2] = build_input(net.graph, "c", "?,5");
        net.node = build_layer(net.graph, kind->class_name, "r", attrs, given ? 1 + kind->states : 1, in);
        net_end(&net, 1 + kind->states);
        struct recurrence r = formula_of(kind, &net, 1, false);
        bool uses_mask = masked && !(given && version == 3);
        for (int n = 0; n < N; n++) {
            for (int u = 0; u < U; u++) {
                h[n][u] = given ? (double)net.state[0][n * U + u] : 0;
                c[n][u] = given ? (double)net.state[1][n * U + u] : 0;
            }
            recurrence_run(&r, net.x[n][0], uses_mask ? net.mask[n] : NULL, h[n], c[n], all[n][0]);
            memcpy(last[n], all[n][T - 1], sizeof last[n]);
        }
        const double *expected[3] = {sequences ? all[0][0] : last[0], h[0], c[0]};
        net_check(&net, 1 + kind->states, expected, (int64_t[]){sequences ? N * T * U : N * U, N * U, N * U});
    }
}

static void test_bidirectional(void **state) {
    (void)state;
    static const char *const modes[] = {"concat", "sum", "mul", "ave", "null"};
    for (int variant = 0; variant < 20 * NKINDS; variant++) {
        const struct kind *kind = &kinds[variant / 20];
        const char *mode = modes[variant % 5];
        bool masked = variant / 5 & 1, sequences = variant / 10 & 1;
        struct net net;
        char attrs[256];
        int rows = sequences ? N * T : N;
        double way[2][N][T][U], outputs[2][N * T * 2 * U], h[U], c[U];
        net_begin(&net, 3, masked);
        snprintf(attrs, sizeof attrs, "merge_mode=%s", mode);
        int e = build_node(net.graph, "e"), merged = strcmp(mode, "null") != 0;
        net.node = build_layer(net.graph, "Bidirectional", "both", attrs, 1, &e);
        snprintf(attrs, sizeof attrs, "%s return_sequences=%s", kind->attrs, sequences ? "true" : "false");
        build_inner(net.graph, net.node, "layer", kind->class_name, attrs);
        net_end(&net, merged ? 1 : 2);
        for (int w = 0; w < 2; w++) {
            struct recurrence r = formula_of(kind, &net, 1 + 3 * w, w == 1);
            for (int n = 0; n < N; n++) {
                double all[T][U];
                memset(h, 0, sizeof h);
                memset(c, 0, sizeof c);
                recurrence_run(&r, net.x[n][0], masked ? net.mask[n] : NULL, h, c, all[0]);
                /* A sequence in the order of time, with zeros where steps are masked; or the last output. */
                for (int t = 0; t < T; t++)
                    for (int u = 0; u < U; u++)
                        way[w][n][t][u] = !sequences                      ? all[T - 1][u]
                                          : masked && net.mask[n][t] == 0 ? 0
                                          : w                             ? all[T - 1 - t][u]
                                                                          : all[t][u];
            }
        }
        for (int i = 0; i < rows; i++)
            for (int u = 0; u < U; u++) {
                int n = sequences ? i / T : i, t = sequences ? i % T : 0;
                double a = way[0][n][t][u], b = way[1][n][t][u];
                if (!strcmp(mode, "concat")) {
                    outputs[0][i * 2 * U + u] = a;
                    outputs[0][i * 2 * U + U + u] = b;
                } else if (merged) {
                    outputs[0][i * U + u] = !strcmp(mode, "mul")   ? a * b
                                            : !strcmp(mode, "sum") ? a + b
                                                                   : (a + b) / 2;
                } else {
                    outputs[0][i * U + u] = a;
                    outputs[1][i * U + u] = b;
                }
            }
        int64_t count = (int64_t)rows * (strcmp(mode, "concat") ? U : 2 * U);
        net_check(&net, merged ? 1 : 2, (const double *[]){outputs[0], outputs[1]},
                  (int64_t[]){count, count});
    }
}

/* States for both ways, and those of both ways out. */
static void test_bidirectional_states(void **state) {
    (void)state;
    const struct kind *kind = &kinds[1];
    struct net net;
    double sum[N][U], h[2][N][U], c[2][N][U], all[T][U];
    net_begin(&net, 2, true);
    int in[5] = {build_node(net.graph, "e")};
    for (int i = 1; i < 5; i++)
        in[i] = build_input(net.graph, (const char *[]){"", "a", "b", "c", "d"}[i], "?,5");
    net.node = build_layer(net.graph, "Bidirectional", "both", "merge_mode=sum", 5, in);
    build_inner(net.graph, net.node, "layer", "LSTM", "units=5 return_state=true");
    net_end(&net, 5);
    memset(sum, 0, sizeof sum);
    for (int w = 0; w < 2; w++) {
        struct recurrence r = formula_of(kind, &net, 1 + 3 * w, w == 1);
        for (int n = 0; n < N; n++) {
            for (int u = 0; u < U; u++) {
                h[w][n][u] = (double)net.state[2 * w][n * U + u];
                c[w][n][u] = (double)net.state[2 * w + 1][n * U + u];
            }
            recurrence_run(&r, net.x[n][0], net.mask[n], h[w][n], c[w][n], all[0]);
            for (int u = 0; u < U; u++) sum[n][u] += all[T - 1][u];
        }
    }
    net_check(&net, 5, (const double *[]){sum[0], h[0][0], c[0][0], h[1][0], c[1][0]},
              (int64_t[]){N * U, N * U, N * U, N * U, N * U});
}

/* A stack of cells is one layer after the other, in the order of computation. */
static void test_stack(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        bool masked = variant & 1, backwards = variant & 2;
        struct net net;
        double first[T][U], second[T][U], mask[T], last[N][U], h[U], c[U];
        net_begin(&net, 3, masked);
        int e = build_node(net.graph, "e");
        net.node =
            build_layer(net.graph, "RNN", "r", backwards ? "go_backwards=true" : "go_backwards=false", 1, &e);
        build_inner(net.graph, net.node, "cell", "StackedRNNCells", "");
        struct layer *stack = layer_attr(&net.graph->layer[net.graph->node[net.node].layer], "cell")->u.layer;
        struct attr *cells = layer_attr(stack, "cells");
        cells->present = true;
        cells->u.layers.n = 2;
        cells->u.layers.v = calloc(2, sizeof *cells->u.layers.v);
        assert_non_null(cells->u.layers.v);
        build_alone("LSTMCell", "a", "units=5", &cells->u.layers.v[0]);
        build_alone("GRUCell", "b", "units=5 reset_after=true", &cells->u.layers.v[1]);
        net_end(&net, 1);
        struct recurrence a = formula_of(&kinds[1], &net, 1, backwards),
                          b = formula_of(&kinds[3], &net, 4, false);
        b.features = U;
        for (int n = 0; n < N; n++) {
            for (int t = 0; t < T; t++) mask[t] = net.mask[n][backwards ? T - 1 - t : t];
            memset(h, 0, sizeof h);
            memset(c, 0, sizeof c);
            recurrence_run(&a, net.x[n][0], masked ? net.mask[n] : NULL, h, c, first[0]);
            memset(h, 0, sizeof h);
            recurrence_run(&b, first[0], masked ? mask : NULL, h, NULL, second[0]);
            memcpy(last[n], second[T - 1], sizeof last[n]);
        }
        net_check(&net, 1, (const double *[]){last[0]}, (int64_t[]){N * U});
    }
}

/* Steps of equal features are left out, those after go on; layers in between pass the mask on. */
static void test_masking(void **state) {
    (void)state;
    struct net net;
    double last[N][U], h[U], c[U], x[T][C];
    build_ok(graph_create("masking", &net.graph));
    int in = build_input(net.graph, "x", "?,6,3");
    int m = build_layer(net.graph, "Masking", "m", "mask_value=0.5", 1, &in);
    int d = build_layer(net.graph, "Dense", "d", "units=3 activation=tanh", 1, &m);
    int o = build_layer(net.graph, "Dropout", "o", "rate=0.5", 1, &d);
    int a = build_layer(net.graph, "Activation", "a", "activation=relu", 1, &o);
    net.node = build_layer(net.graph, "LSTM", "r", "units=5", 1, &a);
    build_output(net.graph, net.node);
    build_ok(graph_infer(net.graph));
    build_ok(graph_lower(net.graph, &net.ops, NULL));
    build_ok(params_create(net.ops, &net.params));
    struct rng rng = rng_make(3, RNG_INIT, 4);
    for (int64_t i = 0; i < net.params->total; i++) net.params->data[i] = (float)(2 * rng_uniform(&rng) - 1);
    float data[N][T][C];
    for (int n = 0; n < N; n++)
        for (int t = 0; t < T; t++)
            for (int k = 0; k < C; k++) {
                bool masked = n == 3 || (n == 1 && t > 3) || (n == 2 && t % 2 == 0);
                /* One feature alone of that value masks nothing. */
                data[n][t][k] = masked || (n == 0 && k == 0) ? 0.5f : (float)rng_uniform(&rng);
            }
    const float *kernel = params_at(net.params, 0), *bias = params_at(net.params, 1);
    struct recurrence r = formula_of(&kinds[1], &net, 2, false);
    for (int n = 0; n < N; n++) {
        for (int t = 0; t < T; t++) {
            net.mask[n][t] = 0;
            for (int k = 0; k < C; k++) net.mask[n][t] += data[n][t][k] != 0.5f;
            for (int j = 0; j < C; j++) {
                double sum = (double)bias[j];
                for (int k = 0; k < C; k++) sum += (double)data[n][t][k] * (double)kernel[k * C + j];
                x[t][j] = tanh(sum) > 0 ? tanh(sum) : 0;
            }
        }
        double all[T][U];
        memset(h, 0, sizeof h);
        memset(c, 0, sizeof c);
        recurrence_run(&r, x[0], net.mask[n], h, c, all[0]);
        memcpy(last[n], all[T - 1], sizeof last[n]);
    }
    const float *inputs = data[0][0];
    struct exec_options options = {.batch = N, .mode = EXEC_INFER, .threads = 1};
    for (int i = 0; i < engine_count(); i++) {
        struct exec *exec = exec_must(engine_at(i), net.ops, &options);
        build_ok(exec_set_params(exec, net.params));
        build_ok(exec_forward(exec, &inputs));
        assert_close_double(engine_at(i)->name, exec_output(exec, 0), last[0], N * U, TOLERANCE);
        exec_destroy(&exec);
    }
    params_destroy(&net.params);
    opgraph_destroy(&net.ops);
    graph_destroy(&net.graph);
}

/* Two masked inputs, merged: which steps count then. */
static void test_merged_masks(void **state) {
    (void)state;
    enum { BOTH, EITHER, FIRST, ALL, JOINED };
    static const struct {
        const char *class_name, *attrs;
        int version;
        bool second; /* has a mask */
        int counts;
    } cases[] = {
        {"Add", "", 2, true, BOTH},
        {"Add", "", 3, true, EITHER},
        {"Multiply", "", 2, true, BOTH},
        {"Multiply", "", 3, true, EITHER},
        {"Multiply", "", 3, false, ALL},
        {"Maximum", "", 2, true, BOTH},
        {"Maximum", "", 3, true, EITHER},
        {"Maximum", "", 3, false, ALL},
        {"Minimum", "", 3, true, EITHER},
        {"Subtract", "", 2, true, BOTH},
        {"Add", "", 2, false, FIRST},
        {"Add", "", 3, false, ALL},
        {"Concatenate", "", 2, true, BOTH},
        {"Concatenate", "", 3, true, EITHER},
        {"Concatenate", "", 2, false, FIRST},
        {"Concatenate", "", 3, false, ALL},
        {"Concatenate", "axis=1", 2, true, JOINED},
        {"Concatenate", "axis=1", 3, false, JOINED},
    };
    static const int token[2][N][T] = {
        {{1, 0, 3, 0, 0, 2}, {0, 0, 1, 2, 3, 4}, {0, 0, 0, 0, 0, 0}, {1, 2, 3, 4, 5, 6}},
        {{1, 2, 0, 0, 4, 2}, {1, 0, 0, 2, 0, 0}, {0, 3, 0, 0, 5, 0}, {0, 0, 0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net net;
        double last[N][U];
        bool joined = cases[i].counts == JOINED,
             wide = !joined && !strcmp(cases[i].class_name, "Concatenate");
        int steps = joined ? 2 * T : T, features = wide ? 2 * C : C, in[2];
        build_ok(graph_create("merged", &net.graph));
        net.graph->keras_version = cases[i].version;
        for (int k = 0; k < 2; k++) {
            int ids = build_input(net.graph, k ? "b" : "a", "?,6");
            in[k] = build_layer(net.graph, "Embedding", k ? "eb" : "ea",
                                k == 0 || cases[i].second ? "input_dim=7 output_dim=3 mask_zero=true"
                                                          : "input_dim=7 output_dim=3",
                                1, &ids);
        }
        int merged = build_layer(net.graph, cases[i].class_name, "m", cases[i].attrs, 2, in);
        net.node = build_layer(net.graph, "SimpleRNN", "r", "units=5", 1, &merged);
        net_end(&net, 1);
        struct recurrence r = formula_of(&kinds[0], &net, 2, false);
        r.steps = steps;
        r.features = features;
        for (int n = 0; n < N; n++) {
            double x[2 * T][2 * C], mask[2 * T], flat[2 * T * 2 * C], all[2 * T][U], h[U] = {0};
            for (int t = 0; t < steps; t++) {
                int of = t / T, at = t % T;
                bool a = token[0][n][at] != 0, b = token[1][n][at] != 0;
                for (int c = 0; c < C; c++) {
                    double va = (double)params_at(net.params, 0)[token[0][n][at] * C + c],
                           vb = (double)params_at(net.params, 1)[token[1][n][at] * C + c];
                    /* What Keras 3 puts in the place of steps that do not count: 1, or the other input. */
                    bool product = !strcmp(cases[i].class_name, "Multiply"), newer = cases[i].version == 3;
                    bool hidden_b = newer && cases[i].second && !b, hidden_a = newer && !a;
                    double ub = hidden_b ? product ? 1 : va : vb, ua = hidden_a ? product ? 1 : ub : va;
                    x[t][c] = joined                                     ? (of ? vb : va)
                              : wide                                     ? va
                              : !strcmp(cases[i].class_name, "Add")      ? va + vb
                              : !strcmp(cases[i].class_name, "Subtract") ? va - vb
                              : !strcmp(cases[i].class_name, "Maximum")  ? fmax(ua, ub)
                              : !strcmp(cases[i].class_name, "Minimum")  ? fmin(ua, ub)
                                                                         : ua * ub;
                    if (wide) x[t][C + c] = vb;
                }
                mask[t] = cases[i].counts == BOTH     ? a && b
                          : cases[i].counts == EITHER ? a || b
                          : cases[i].counts == FIRST  ? a
                          : joined                    ? (of ? b || !cases[i].second : a)
                                                      : 1;
                for (int c = 0; c < features; c++) flat[t * features + c] = x[t][c];
            }
            recurrence_run(&r, flat, mask, h, NULL, all[0]);
            memcpy(last[n], all[steps - 1], sizeof last[n]);
        }
        for (int n = 0; n < N; n++)
            for (int t = 0; t < T; t++) {
                net.tokens[n * T + t] = (float)token[0][n][t];
                net.state[0][n * T + t] = (float)token[1][n][t];
            }
        net_check(&net, 1, (const double *[]){last[0]}, (int64_t[]){N * U});
    }
}

/* Words of sentences: (N,2,3) tokens, a mask for each, an LSTM over each sentence. */
static void test_time_distributed(void **state) {
    (void)state;
    struct net net;
    double expected[N][2][U], h[U], c[U];
    build_ok(graph_create("sentences", &net.graph));
    int ids = build_input(net.graph, "ids", "?,2,3");
    int e = build_layer(net.graph, "Embedding", "e", "input_dim=7 output_dim=3 mask_zero=true", 1, &ids);
    net.node = build_layer(net.graph, "TimeDistributed", "t", "", 1, &e);
    build_inner(net.graph, net.node, "layer", "LSTM", "units=5");
    net_end(&net, 1);
    struct recurrence r = formula_of(&kinds[1], &net, 1, false);
    r.steps = 3;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < 2; i++) {
            double all[3][U];
            memset(h, 0, sizeof h);
            memset(c, 0, sizeof c);
            recurrence_run(&r, net.x[n][3 * i], &net.mask[n][3 * i], h, c, all[0]);
            memcpy(expected[n][i], all[2], sizeof expected[n][i]);
        }
    net_check(&net, 1, (const double *[]){expected[0][0]}, (int64_t[]){N * 2 * U});
}

/* Gradients through layers that are several operations: against differences of the reference. */
static void test_gradients(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *inner, *inner_attrs;
    } cases[] = {
        {"Bidirectional", "merge_mode=concat", "LSTM", "units=3 return_sequences=true"},
        {"Bidirectional", "merge_mode=mul", "GRU", "units=3 reset_after=true"},
        {"GRU", "units=3 go_backwards=true", NULL, NULL},
        {"TimeDistributed", "", "Dense", "units=2 activation=tanh"},
        {"TimeDistributed", "", "Reshape", "target_shape=3,1"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3 use_causal_mask=true", NULL, NULL},
        {"GroupedQueryAttention", "num_query_heads=4 num_key_value_heads=2 head_dim=2", NULL, NULL},
        {"Attention", "use_scale=true score_mode=concat", NULL, NULL},
        {"AdditiveAttention", "", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int masked = 0; masked < 2; masked++) {
            struct graph *g;
            struct opgraph *ops;
            build_ok(graph_create("gradients", &g));
            int x = build_input(g, "x", "?,4,3"), n = layer_kind_find(cases[i].class_name)->min_inputs;
            if (masked) x = build_layer(g, "Masking", "m", "", 1, &x);
            int node = build_layer(g, cases[i].class_name, "l", cases[i].attrs, n, (int[]){x, x});
            if (cases[i].inner) build_inner(g, node, "layer", cases[i].inner, cases[i].inner_attrs);
            build_output(g, node);
            build_ok(graph_infer(g));
            build_ok(graph_lower(g, &ops, NULL));
            struct trial *trial = trial_create(ops, 3, 17 + i);
            trial_check(trial);
            trial_destroy(trial);
            graph_destroy(&g);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences),        cmocka_unit_test(test_states),
        cmocka_unit_test(test_bidirectional),    cmocka_unit_test(test_bidirectional_states),
        cmocka_unit_test(test_merged_masks),     cmocka_unit_test(test_stack),
        cmocka_unit_test(test_gradients),        cmocka_unit_test(test_masking),
        cmocka_unit_test(test_time_distributed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the engines compute for the layers of attention, against their formulas. */
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

#define N 3
#define T 5
#define S 6
#define D 4
#define TOLERANCE 1e-5

/* Two inputs of tokens, each embedded; where a token is 0 it is masked, if the case says so. */
struct net {
    struct graph *graph;
    struct opgraph *ops;
    struct params *params;
    float tokens[2][N * S];
    double x[2][N][S][D], mask[2][N][S];
    int node;
};

static const int steps[2] = {T, S};

static void net_begin(struct net *net, int keras_version, bool query_masked, bool key_masked) {
    build_ok(graph_create("attention", &net->graph));
    net->graph->keras_version = keras_version;
    for (int i = 0; i < 2; i++) {
        char name[8], shape[8], attrs[64];
        snprintf(name, sizeof name, "ids%d", i);
        snprintf(shape, sizeof shape, "?,%d", steps[i]);
        int ids = build_input(net->graph, name, shape);
        snprintf(name, sizeof name, "e%d", i);
        snprintf(attrs, sizeof attrs, "input_dim=7 output_dim=%d mask_zero=%s", D,
                 (i ? key_masked : query_masked) ? "true" : "false");
        build_layer(net->graph, "Embedding", name, attrs, 1, &ids);
    }
}

/* Random parameters and tokens. The last sample's second input and the first sample's last tokens are zero.
 */
static void net_end(struct net *net) {
    build_output(net->graph, net->node);
    build_ok(graph_infer(net->graph));
    build_ok(graph_lower(net->graph, &net->ops, NULL));
    build_ok(params_create(net->ops, &net->params));
    struct rng rng = rng_make(7, RNG_INIT, 1);
    for (int64_t i = 0; i < net->params->total; i++)
        net->params->data[i] = (float)(2 * rng_uniform(&rng) - 1);
    for (int i = 0; i < 2; i++) {
        const float *table = params_at(net->params, i);
        for (int n = 0; n < N; n++)
            for (int t = 0; t < steps[i]; t++) {
                int token = (int)(7 * rng_uniform(&rng));
                if ((i == 1 && n == N - 1) || (n == 0 && t > 2)) token = 0;
                net->tokens[i][n * steps[i] + t] = (float)token;
                net->mask[i][n][t] = token != 0;
                for (int d = 0; d < D; d++) net->x[i][n][t][d] = (double)table[token * D + d];
            }
    }
}

static void net_check(struct net *net, const double *expected, int64_t n) {
    const float *inputs[2] = {net->tokens[0], net->tokens[1]};
    struct exec_options options = {.batch = N, .mode = EXEC_INFER, .threads = 1};
    for (int i = 0; i < engine_count(); i++) {
        struct exec *exec = exec_must(engine_at(i), net->ops, &options);
        build_ok(exec_set_params(exec, net->params));
        build_ok(exec_forward(exec, inputs));
        assert_close_double(engine_at(i)->name, exec_output(exec, 0), expected, n, TOLERANCE);
        exec_destroy(&exec);
    }
    params_destroy(&net->params);
    opgraph_destroy(&net->ops);
    graph_destroy(&net->graph);
}

static void heads(const char *class_name, const char *attrs, int keras_version, int masks, bool causal,
                  struct heads_formula formula) {
    struct net net;
    char all[256];
    const float *param[8];
    double expected[N][T][D];
    net_begin(&net, keras_version, masks & 1, masks & 2);
    int in[2] = {build_node(net.graph, "e0"), build_node(net.graph, "e1")};
    snprintf(all, sizeof all, "%s use_causal_mask=%s", attrs, causal ? "true" : "false");
    net.node = build_layer(net.graph, class_name, "attention", all, 2, in);
    net_end(&net);
    for (int i = 0; i < 8; i++) param[i] = params_at(net.params, 2 + i);
    formula.param = param;
    formula.query_features = formula.key_features = formula.value_features = formula.out = D;
    for (int n = 0; n < N; n++) {
        formula.of = (struct attention){.queries = T,
                                        .keys = S,
                                        .causal = causal,
                                        .query_mask = masks & 1 ? net.mask[0][n] : NULL,
                                        .key_mask = masks & 2 ? net.mask[1][n] : NULL};
        heads_run(&formula, net.x[0][n][0], net.x[1][n][0], net.x[1][n][0], expected[n][0]);
    }
    net_check(&net, expected[0][0], N * T * D);
}

static void test_multi_head(void **state) {
    (void)state;
    struct heads_formula two = {.heads = 2, .key_heads = 2, .size = 3, .value_size = 5};
    for (int masks = 0; masks < 4; masks++)
        for (int causal = 0; causal < 2; causal++)
            for (int version = 2; version <= 3; version++)
                heads("MultiHeadAttention", "num_heads=2 key_dim=3 value_dim=5", version, masks, causal, two);
}

static void test_grouped_query(void **state) {
    (void)state;
    struct heads_formula four = {.heads = 4, .key_heads = 2, .size = 3, .value_size = 3};
    for (int masks = 0; masks < 4; masks += 3)
        for (int causal = 0; causal < 2; causal++)
            heads("GroupedQueryAttention", "num_query_heads=4 num_key_value_heads=2 head_dim=3", 3, masks,
                  causal, four);
}

/* Attention's scores are q.k, or w * sum(tanh(s * (q + k))); AdditiveAttention's sum(s * tanh(q + k)). */
static double score(const double *q, const double *k, bool additive, bool concat, const float *scale,
                    const float *weight) {
    double sum = 0;
    for (int d = 0; d < D; d++)
        if (additive) sum += (scale ? (double)scale[d] : 1) * tanh(q[d] + k[d]);
        else if (concat) sum += tanh((scale ? (double)*scale : 1) * (q[d] + k[d]));
        else sum += q[d] * k[d];
    if (concat) return sum * (double)*weight;
    return additive || !scale ? sum : sum * (double)*scale;
}

static void test_attention(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs;
        bool additive, concat, scale;
    } cases[] = {
        {"Attention", "", false, false, false},
        {"Attention", "use_scale=true", false, false, true},
        {"Attention", "use_scale=true score_mode=concat", false, true, true},
        {"Attention", "score_mode=concat", false, true, false},
        {"AdditiveAttention", "", true, false, true},
        {"AdditiveAttention", "use_scale=false", true, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int variant = 0; variant < 8; variant++) {
            bool query_masked = variant & 1, key_masked = variant & 2, causal = variant & 4;
            struct net net;
            char all[256];
            double expected[N][T][D] = {0}, row[S];
            net_begin(&net, 3, query_masked, key_masked);
            int in[2] = {build_node(net.graph, "e0"), build_node(net.graph, "e1")};
            snprintf(all, sizeof all, "%s use_causal_mask=%s", cases[i].attrs, causal ? "true" : "false");
            net.node = build_layer(net.graph, cases[i].class_name, "attention", all, 2, in);
            net_end(&net);
            const float *scale = cases[i].scale ? params_at(net.params, 2) : NULL;
            const float *weight = cases[i].concat ? params_at(net.params, scale ? 3 : 2) : NULL;
            for (int n = 0; n < N; n++) {
                const struct attention of = {.queries = T,
                                             .keys = S,
                                             .causal = causal,
                                             .key_mask = key_masked ? net.mask[1][n] : NULL};
                for (int t = 0; t < T; t++) {
                    if (query_masked && net.mask[0][n][t] == 0) continue; /* zero */
                    for (int s = 0; s < S; s++)
                        row[s] = score(net.x[0][n][t], net.x[1][n][s], cases[i].additive, cases[i].concat,
                                       scale, weight);
                    attention_weigh(&of, t, row);
                    for (int s = 0; s < S; s++)
                        for (int d = 0; d < D; d++) expected[n][t][d] += row[s] * net.x[1][n][s][d];
                }
            }
            net_check(&net, expected[0][0], N * T * D);
        }
}

/* "abc,cde->abde" with the bias on the last axis only, and "abcd,cde->abe". */
static void test_einsum_dense(void **state) {
    (void)state;
    struct net net;
    double expected[N][T][2] = {0};
    net_begin(&net, 3, false, false);
    int x = build_node(net.graph, "e0");
    int apart = build_layer(net.graph, "EinsumDense", "apart",
                            "equation=abc,cde->abde output_shape=?,2,3 bias_axes=e", 1, &x);
    net.node = build_layer(net.graph, "EinsumDense", "together",
                           "equation=abcd,cde->abe output_shape=?,2 bias_axes=e activation=tanh", 1, &apart);
    net_end(&net);
    const float *k = params_at(net.params, 2), *b = params_at(net.params, 3), *k2 = params_at(net.params, 4),
                *b2 = params_at(net.params, 5);
    for (int n = 0; n < N; n++)
        for (int t = 0; t < T; t++)
            for (int f = 0; f < 2; f++) {
                double sum = (double)b2[f];
                for (int d = 0; d < 2; d++)
                    for (int e = 0; e < 3; e++) {
                        double inner = (double)b[e];
                        for (int c = 0; c < D; c++)
                            inner += net.x[0][n][t][c] * (double)k[(c * 2 + d) * 3 + e];
                        sum += inner * (double)k2[(d * 3 + e) * 2 + f];
                    }
                expected[n][t][f] = tanh(sum);
            }
    net_check(&net, expected[0][0], N * T * 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multi_head),
        cmocka_unit_test(test_grouped_query),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_einsum_dense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

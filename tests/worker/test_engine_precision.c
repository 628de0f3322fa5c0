/* Inference in bfloat16 and int8. Numbers are chosen so that they lie on the grids that values and kernels
 * are rounded to: then int8 gives exactly what the definitions give in double precision. Where results are
 * rounded on the way, the test rounds the reference's values by the definition of the grid. Processors
 * without such arithmetic compute in float32, which is exact on these numbers too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/engine_check.h"
#include "worker/nets.h"
#include "worker/reference.h"

#include "shared/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 3

struct setup {
    struct opgraph *graph;
    struct params *params;
    float *x;
    struct value_range *range;
    int in;
};

static int whole(struct rng *rng, int least, int most) {
    return least + (int)(rng_uniform(rng) * (most - least + 1));
}

/* Kernels are whole numbers, each output channel with 127 in it so that their scale is 1; biases whole. */
static void whole_params(struct setup *s, struct rng *rng, int most) {
    for (int i = 0; i < s->params->n; i++) {
        const struct shape *shape = &s->graph->param[i].shape;
        const int64_t n = s->params->count[i], columns = shape->dim[shape->rank - 1];
        float *w = params_at(s->params, i);
        for (int64_t k = 0; k < n; k++) w[k] = (float)whole(rng, -most, most);
        if (shape->rank == 1) continue;
        if (shape->rank == 4 && shape->dim[2] > 1 && s->graph->op[0].kind == OP_DEPTHWISE) {
            for (int64_t k = 0; k < shape->dim[2] * columns; k++) w[k] = INT8_MAX; /* of the first tap */
        } else {
            for (int64_t k = 0; k < columns; k++) w[k] = k % 2 ? -INT8_MAX : INT8_MAX;
        }
    }
}

static void begin(struct setup *s, int64_t height, int64_t width, int64_t channels) {
    *s = (struct setup){.graph = net_create()};
    s->in = net_input(s->graph, SHAPE(0, height, width, channels));
}

/* `least`, `most`: of the inputs, which are whole; a range that makes their scale 1. */
static void finish(struct setup *s, int out, uint64_t seed, int least, int most, int kernel) {
    struct rng rng = rng_make(seed, RNG_INIT, 0);
    net_finish(s->graph, 1, &out);
    s->params = net_params(s->graph, seed);
    whole_params(s, &rng, kernel);
    const int64_t n = net_count(s->graph, s->in, BATCH);
    s->x = random_floats(n, seed);
    for (int64_t i = 0; i < n; i++) s->x[i] = (float)whole(&rng, least, most);
    s->range = calloc((size_t)s->graph->nvalues, sizeof *s->range);
    assert_non_null(s->range);
    for (int v = 0; v < s->graph->nvalues; v++) s->range[v] = (struct value_range){NAN, NAN};
    s->range[s->in] = least < 0 ? (struct value_range){-127, 127} : (struct value_range){0, 255};
}

static void end(struct setup *s) {
    opgraph_destroy(&s->graph);
    params_destroy(&s->params);
    free(s->x);
    free(s->range);
}

static float *compute(const struct setup *s, const struct engine *engine, enum precision precision,
                      int threads) {
    const struct exec_options options = {
        .batch = BATCH, .mode = EXEC_INFER, .threads = threads, .precision = precision, .range = s->range};
    struct exec *exec = exec_must(engine, s->graph, &options);
    const int64_t n = net_count(s->graph, s->graph->output[0], BATCH);
    float *y = malloc((size_t)n * sizeof *y);
    assert_non_null(y);
    for (int i = 0; i < 2; i++) { /* parameters may be given again */
        must(exec_set_params(exec, s->params));
        must(exec_forward(exec, (const float *const *)&s->x));
    }
    memcpy(y, exec_output(exec, 0), (size_t)n * sizeof *y);
    exec_destroy(&exec);
    return y;
}

static struct reference *reference_of(const struct setup *s) {
    struct reference *r = reference_create(s->graph, BATCH, false, (const float *const *)&s->x, s->params);
    reference_forward(r);
    return r;
}

static void check(const struct setup *s, const char *what, enum precision precision, const double *expected,
                  double tolerance) {
    const int64_t n = net_count(s->graph, s->graph->output[0], BATCH);
    for (int e = 0; e < engine_count(); e++)
        for (int threads = 1; threads <= 2; threads++) {
            float *y = compute(s, engine_at(e), precision, threads);
            assert_close_double(what, y, expected, n, tolerance);
            free(y);
        }
}

/* The output is the reference's, but for the rounding of float32. */
static void check_exact(struct setup *s, const char *what) {
    struct reference *r = reference_of(s);
    check(s, what, PRECISION_INT8, r->value[s->graph->output[0]], 1e-6);
    reference_destroy(r);
    end(s);
}

/* ---- int8, exact ---- */

static void convolutions(void **state) {
    (void)state;
    static const struct {
        const char *what;
        int64_t channels;
        int size, filters, least;
        struct window_options o;
    } cases[] = {
        {"3x3", 16, 3, 32, 0, {.same = true}},
        {"signed inputs", 16, 3, 32, -127, {.same = true}},
        {"one channel", 1, 3, 16, 0, {.same = true}},
        {"odd channels", 5, 3, 7, -127, {.same = true}},
        {"1x1", 24, 1, 40, 0, {.same = true}},
        {"stride", 16, 3, 16, 0, {.same = true, .stride = {2, 2}}},
        {"dilation", 16, 3, 16, -127, {.same = true, .dilation = {2, 2}}},
        {"groups", 32, 3, 32, 0, {.same = true, .groups = 2}},
        {"no bias", 16, 5, 16, -127, {.no_bias = true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct setup s;
        begin(&s, 9, 8, cases[i].channels);
        int y = net_conv(s.graph, s.in, cases[i].size, cases[i].size, cases[i].filters, cases[i].o);
        finish(&s, y, i + 1, cases[i].least, cases[i].least < 0 ? 127 : 255, 127);
        check_exact(&s, cases[i].what);
    }
}

static void depthwise(void **state) {
    (void)state;
    for (int multiplier = 1; multiplier <= 2; multiplier++)
        for (int least = -127; least <= 0; least += 127) {
            struct setup s;
            begin(&s, 9, 8, 24);
            int y = net_depthwise(s.graph, s.in, 3, 3, multiplier, (struct window_options){.same = true});
            finish(&s, y, (uint64_t)multiplier, least, least < 0 ? 127 : 255, 127);
            check_exact(&s, "depthwise");
        }
}

static void dense(void **state) {
    (void)state;
    for (int relu = 0; relu < 2; relu++) {
        struct setup s;
        begin(&s, 2, 3, 20);
        int y = net_dense(s.graph, s.in, 33, relu);
        if (relu) y = net_relu(s.graph, y);
        finish(&s, y, 3, -127, 127, 127);
        check_exact(&s, "dense");
    }
}

/* Activations, alone and with the addition of another value, on sums of float32. */
static void activations(void **state) {
    (void)state;
    static const struct {
        const char *what;
        enum activation kind;
        float alpha, beta;
    } cases[] = {{"relu", ACTIVATION_RELU, 0, INFINITY},
                 {"leaky relu", ACTIVATION_RELU, 0.25F, INFINITY},
                 {"relu6", ACTIVATION_RELU, 0, 6000},
                 {"sigmoid", ACTIVATION_SIGMOID, 0, 0},
                 {"hard sigmoid", ACTIVATION_HARD_SIGMOID, 0.2F, 0.5F}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int add = 0; add < 2; add++) {
            struct setup s;
            begin(&s, 6, 6, 16);
            int y = net_conv(s.graph, s.in, 3, 3, 16, (struct window_options){.same = true});
            if (add) y = net_binary(s.graph, BINARY_ADD, y, s.in);
            y = net_activation(s.graph, y, cases[i].kind, cases[i].alpha, cases[i].beta, 0);
            finish(&s, y, i + 1, -127, 127, 127);
            check_exact(&s, cases[i].what);
        }
}

/* ---- int8, rounded on the way ---- */

/* What a value of that range becomes when it is stored. */
static void round_values(double *v, int64_t n, struct value_range range) {
    const double high = fmax(range.high, -range.low), most = range.low < 0 ? 127 : 255,
                 least = range.low < 0 ? -128 : 0;
    for (int64_t i = 0; i < n; i++) {
        double q = nearbyint(v[i] / (high / most));
        q = q > most ? most : q < least ? least : q;
        v[i] = q * (high / most);
    }
}

/* A convolution after another; what is between is stored with a scale of 1/2 or 128 and clipped. An engine
 * without int8 keeps it as it is. */
static void chains(void **state) {
    (void)state;
    static const struct value_range ranges[] = {{0, 127.5F}, {-8128, 8128}, {0, 32640}, {-63.5F, 63.5F}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int relu = 0; relu < 2; relu++) {
            struct setup s;
            begin(&s, 6, 6, 16);
            int mid = net_conv(s.graph, s.in, 3, 3, 16, (struct window_options){.same = true});
            if (relu) mid = net_relu(s.graph, mid);
            int y = net_conv(s.graph, mid, 1, 1, 16, (struct window_options){.same = true});
            finish(&s, y, i + 1, -127, 127, 127);
            s.range[mid] = ranges[i];
            struct reference *r = reference_of(&s);
            const int64_t n = net_count(s.graph, y, BATCH);
            double *plain = malloc((size_t)n * sizeof *plain);
            assert_non_null(plain);
            memcpy(plain, r->value[y], (size_t)n * sizeof *plain);
            round_values(r->value[mid], net_count(s.graph, mid, BATCH), ranges[i]);
            reference_forward_from(r, s.graph->nops - 1);
            for (int e = 0; e < engine_count(); e++) {
                float *out = compute(&s, engine_at(e), PRECISION_INT8, 1);
                assert_close_double("chain", out, engine_at(e)->has(PRECISION_INT8) ? r->value[y] : plain, n,
                                    1e-6);
                free(out);
            }
            free(plain);
            reference_destroy(r);
            end(&s);
        }
}

/* ---- whole nets ---- */

/* Everything that moves values about: a residual block, two branches concatenated, pooling, reshaping, the
 * mean. */
static void build_mixture(struct setup *s) {
    const struct window_options same = {.same = true};
    begin(s, 8, 8, 3);
    struct opgraph *g = s->graph;
    int a = net_relu(g, net_conv(g, s->in, 3, 3, 16, same));
    int b = net_conv(g, a, 3, 3, 16, same);
    int sum = net_relu(g, net_binary(g, BINARY_ADD, b, a));
    int left = net_conv(g, sum, 1, 1, 8, same);
    int right = net_relu(g, net_depthwise(g, sum, 3, 3, 1, same));
    int both = net_concat(g, 3, 2, (int[]){left, right});
    int small = net_pool(g, both, POOL_MAX, 2, 2, (struct window_options){.stride = {2, 2}});
    int wide = net_activation(g, net_conv(g, small, 3, 3, 32, same), ACTIVATION_SILU, 0, 0, 0);
    int flat = net_reshape(g, net_pool(g, wide, POOL_MEAN, 2, 2, (struct window_options){.stride = {2, 2}}),
                           SHAPE(SHAPE_UNKNOWN, 4, 32));
    int logits = net_dense(g, net_reduce(g, flat, REDUCE_MEAN, 2, false), 10, true);
    net_finish(g, 1, &logits);
}

static void mixture(void **state) {
    (void)state;
    struct setup s;
    build_mixture(&s);
    s.params = net_params(s.graph, 7);
    s.x = random_floats(net_count(s.graph, s.in, BATCH), 8);
    s.range = calloc((size_t)s.graph->nvalues, sizeof *s.range);
    assert_non_null(s.range);
    struct reference *r = reference_of(&s);
    for (int v = 0; v < s.graph->nvalues; v++)
        for (int64_t i = 0; i < net_count(s.graph, v, BATCH); i++) {
            s.range[v].low = fminf(s.range[v].low, (float)r->value[v][i]);
            s.range[v].high = fmaxf(s.range[v].high, (float)r->value[v][i]);
        }
    const double *y = r->value[s.graph->output[0]];
    check(&s, "bfloat16", PRECISION_BFLOAT16, y, 0.02);
    check(&s, "int8", PRECISION_INT8, y, 0.06);
    /* Where nothing is known of a value, it stays as it is. */
    for (int v = 0; v < s.graph->nvalues; v++)
        if (v % 3 == 0) s.range[v] = (struct value_range){NAN, NAN};
    check(&s, "half known", PRECISION_INT8, y, 0.06);
    for (int v = 0; v < s.graph->nvalues; v++) s.range[v] = (struct value_range){NAN, NAN};
    check(&s, "unknown", PRECISION_INT8, y, 1e-5);
    reference_destroy(r);
    end(&s);
}

/* bfloat16 has 8 bits: whole numbers up to 256 and their products are exact. */
static void bfloat16(void **state) {
    (void)state;
    struct setup s;
    begin(&s, 9, 8, 16);
    int y = net_conv(s.graph, s.in, 3, 3, 32, (struct window_options){.same = true});
    finish(&s, y, 5, -127, 127, 127);
    struct reference *r = reference_of(&s);
    check(&s, "bfloat16", PRECISION_BFLOAT16, r->value[y], 1e-6);
    reference_destroy(r);
    end(&s);
}

/* Values of which nothing is left, and kernels of zeros. */
static void zeros(void **state) {
    (void)state;
    struct setup s;
    begin(&s, 4, 4, 16);
    int y = net_conv(s.graph, s.in, 3, 3, 16, (struct window_options){.same = true});
    finish(&s, y, 5, 0, 0, 127);
    memset(params_at(s.params, 0), 0, (size_t)s.params->count[0] * sizeof(float));
    check_exact(&s, "zeros");
}

/* Scales whose products float32 cannot hold: the channel's kernel, or the values, are as good as nothing. */
static void tiny(void **state) {
    (void)state;
    for (int values = 0; values < 2; values++) {
        struct setup s;
        begin(&s, 4, 4, 16);
        int y = net_conv(s.graph, s.in, 3, 3, 16, (struct window_options){.same = true});
        finish(&s, y, 5, 0, 255, 127);
        float *kernel = params_at(s.params, 0);
        for (int64_t i = 0; i < s.params->count[0]; i++)
            if (!values && i % 16 == 3) kernel[i] *= 1e-43F;
        for (int64_t i = 0; values && i < net_count(s.graph, s.in, BATCH); i++) s.x[i] *= 1e-38F;
        if (values) s.range[s.in] = (struct value_range){0, 255e-38F};
        check_exact(&s, values ? "tiny values" : "a tiny channel");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions), cmocka_unit_test(depthwise), cmocka_unit_test(dense),
        cmocka_unit_test(activations),  cmocka_unit_test(chains),    cmocka_unit_test(mixture),
        cmocka_unit_test(bfloat16),     cmocka_unit_test(zeros),     cmocka_unit_test(tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

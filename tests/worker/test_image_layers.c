/* What the engines compute for layers of images, normalizations and activation functions in options that no
 * other program is compared with, against Keras's formulas written out; and that layers whose channels come
 * first compute what the same layers do with channels last. */
#include "engine_check.h"
#include "shared/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"

#include <math.h>
#include <stdlib.h>

#define N 3
#define TOLERANCE 1e-5

/* A layer on up to two inputs, with random data. */
struct net {
    struct graph *graph;
    struct opgraph *ops;
    struct params *params;
    float *x[2];
    struct shape in[2], out; /* with the batch */
};

static int64_t count_of(const struct shape *shape) {
    int64_t n;
    build_ok(shape_count(shape, &n));
    return n;
}

static void net_open(struct net *net, const char *class_name, const char *attrs, int nin,
                     const char *const *input) {
    int node[2];
    *net = (struct net){0};
    build_ok(graph_create("net", &net->graph));
    net->graph->keras_version = 3;
    for (int i = 0; i < nin; i++) node[i] = build_input(net->graph, i ? "b" : "a", input[i]);
    build_output(net->graph, build_layer(net->graph, class_name, "layer", attrs, nin, node));
    build_ok(graph_infer(net->graph));
    build_ok(graph_lower(net->graph, &net->ops, NULL));
    build_ok(params_create(net->ops, &net->params));
    struct rng rng = rng_make(5, RNG_INIT, 1);
    for (int64_t i = 0; i < net->params->total; i++)
        net->params->data[i] = (float)(0.25 + 1.5 * rng_uniform(&rng)); /* positive: variances */
    for (int i = 0; i < nin; i++) {
        net->in[i] = net->graph->node[node[i]].out[0];
        net->in[i].dim[0] = N;
        int64_t n = count_of(&net->in[i]);
        net->x[i] = malloc((size_t)n * sizeof(float));
        assert_non_null(net->x[i]);
        for (int64_t k = 0; k < n; k++) net->x[i][k] = (float)(6 * rng_uniform(&rng) - 3);
    }
    net->out = net->ops->value[net->ops->output[0]];
    net->out.dim[0] = N;
}

static void net_one(struct net *net, const char *class_name, const char *attrs, const char *input) {
    net_open(net, class_name, attrs, 1, &input);
}

/* Every engine; what the first one gives is returned in `first` if that is not NULL, owned. */
static void net_run(const struct net *net, const double *expected, float **first) {
    const float *inputs[] = {net->x[0], net->x[1]};
    struct exec_options options = {.batch = N, .mode = EXEC_INFER, .threads = 1};
    int64_t n = count_of(&net->out);
    for (int e = 0; e < engine_count(); e++) {
        struct exec *exec = exec_must(engine_at(e), net->ops, &options);
        build_ok(exec_set_params(exec, net->params));
        build_ok(exec_forward(exec, inputs));
        if (expected)
            assert_close_double(net->graph->layer[net->graph->nlayers - 1].kind->class_name,
                                exec_output(exec, 0), expected, n, TOLERANCE);
        if (first && e == 0) {
            *first = malloc((size_t)n * sizeof **first);
            assert_non_null(*first);
            memcpy(*first, exec_output(exec, 0), (size_t)n * sizeof **first);
        }
        exec_destroy(&exec);
    }
}

static void net_close(struct net *net) {
    for (int i = 0; i < 2; i++) free(net->x[i]);
    params_destroy(&net->params);
    opgraph_destroy(&net->ops);
    graph_destroy(&net->graph);
}

static void to_index(const struct shape *shape, int64_t at, int64_t *index) {
    for (int i = shape->rank - 1; i >= 0; at /= shape->dim[i--]) index[i] = at % shape->dim[i];
}

/* Element number of an index among the axes in the set alone. */
static int64_t among(const struct shape *shape, unsigned axes, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < shape->rank; i++)
        if (axes >> i & 1) at = at * shape->dim[i] + index[i];
    return at;
}

/* Of x over `axes`, for the elements that share the place `index` on all others: mean of f(x). */
static double mean_of(const struct shape *shape, const float *x, unsigned axes, const int64_t *index,
                      double (*f)(double, double), double parameter) {
    double sum = 0;
    int64_t n = 0, count = count_of(shape), other[SHAPE_MAX_RANK];
    for (int64_t k = 0; k < count; k++) {
        bool same = true;
        to_index(shape, k, other);
        for (int i = 0; i < shape->rank; i++) same = same && (axes >> i & 1 || other[i] == index[i]);
        if (!same) continue;
        sum += f((double)x[k], parameter);
        n++;
    }
    return sum / (double)n;
}

static double itself(double x, double parameter) {
    (void)parameter;
    return x;
}

static double square_about(double x, double mean) {
    return (x - mean) * (x - mean);
}

static double exponential(double x, double parameter) {
    return exp(x - parameter);
}

/* Fills expected[] element by element. */
static double *each(const struct net *net,
                    double (*f)(const struct net *net, double x, const int64_t *index)) {
    int64_t n = count_of(&net->out), index[SHAPE_MAX_RANK];
    double *y = malloc((size_t)n * sizeof *y);
    assert_non_null(y);
    for (int64_t k = 0; k < n; k++) {
        to_index(&net->out, k, index);
        y[k] = f(net, (double)net->x[0][k], index);
    }
    return y;
}

static void check_each(const char *class_name, const char *attrs, const char *input,
                       double (*f)(const struct net *net, double x, const int64_t *index)) {
    struct net net;
    net_one(&net, class_name, attrs, input);
    double *y = each(&net, f);
    net_run(&net, y, NULL);
    free(y);
    net_close(&net);
}

/* ---- activation functions ---- */

#define FUNCTION(name, formula)                                                                              \
    static double name(const struct net *net, double x, const int64_t *index) {                              \
        (void)net, (void)index;                                                                              \
        return formula;                                                                                      \
    }

FUNCTION(squareplus, (x + sqrt(x * x + 4)) / 2)
FUNCTION(sparse_plus, x <= -1 ? 0 : x < 1 ? (x + 1) * (x + 1) / 4 : x)
FUNCTION(sparse_sigmoid, fmin(1, fmax(0, 0.5 * (x + 1))))
FUNCTION(hard_shrink, fabs(x) > 0.5 ? x : 0)
FUNCTION(soft_shrink, x > 0.5 ? x - 0.5 : x < -0.5 ? x + 0.5 : 0)
FUNCTION(log_sigmoid, -log(1 + exp(-x)))
FUNCTION(tanh_shrink, x - tanh(x))

static void activations(void **state) {
    (void)state;
    static const struct {
        const char *attrs;
        double (*f)(const struct net *net, double x, const int64_t *index);
    } cases[] = {
        {"activation=squareplus", squareplus},         {"activation=sparse_plus", sparse_plus},
        {"activation=sparse_sigmoid", sparse_sigmoid}, {"activation=hard_shrink", hard_shrink},
        {"activation=soft_shrink", soft_shrink},       {"activation=log_sigmoid", log_sigmoid},
        {"activation=tanh_shrink", tanh_shrink},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_each("Activation", cases[i].attrs, "?,5,7", cases[i].f);
}

/* ---- normalizations ---- */

static double parameter(const struct net *net, int p, int64_t at) {
    return (double)params_at(net->params, p)[at];
}

static double normalize(const struct net *net, double x, int64_t at) {
    return (x - parameter(net, 0, at)) / sqrt(parameter(net, 1, at));
}

static double denormalize(const struct net *net, double x, int64_t at) {
    return x * sqrt(parameter(net, 1, at)) + parameter(net, 0, at);
}

static double normalize_last(const struct net *net, double x, const int64_t *index) {
    return normalize(net, x, index[3]);
}

static double normalize_rows_and_last(const struct net *net, double x, const int64_t *index) {
    return normalize(net, x, among(&net->out, 1u << 1 | 1u << 3, index));
}

static double normalize_rows(const struct net *net, double x, const int64_t *index) {
    return normalize(net, x, index[1]);
}

static double denormalize_last(const struct net *net, double x, const int64_t *index) {
    return denormalize(net, x, index[3]);
}

static double denormalize_rows(const struct net *net, double x, const int64_t *index) {
    return denormalize(net, x, index[1]);
}

/* Constants for (columns, channels): 1..6 and squares of them. */
static double normalize_constants(const struct net *net, double x, const int64_t *index) {
    double c = 1 + (double)among(&net->out, 1u << 2 | 1u << 3, index);
    return (x - c) / c;
}

static double normalize_broadcast(const struct net *net, double x, const int64_t *index) {
    (void)net;
    double c = 1 + (double)index[3];
    return (x - c) / 2;
}

static void normalization(void **state) {
    (void)state;
    check_each("Normalization", "", "?,4,2,3", normalize_last);
    check_each("Normalization", "axis=1", "?,4,2,3", normalize_rows);
    check_each("Normalization", "axis=3,1", "?,4,2,3", normalize_rows_and_last);
    check_each("Normalization", "invert=true", "?,4,2,3", denormalize_last);
    check_each("Normalization", "axis=1 invert=true", "?,4,2,3", denormalize_rows);
    check_each("Normalization", "axis=2,3 mean=1,2,3,4,5,6 variance=1,4,9,16,25,36", "?,4,2,3",
               normalize_constants);
    check_each("Normalization", "axis=2,3 mean=1,2,3 variance=4", "?,4,2,3", normalize_broadcast);
}

/* One mean and variance for all; a variance of nothing is taken for 1e-14. */
static void normalization_of_all(void **state) {
    (void)state;
    for (int zero = 0; zero < 2; zero++) {
        struct net net;
        net_one(&net, "Normalization", "", "?,4,3");
        params_destroy(&net.params);
        opgraph_destroy(&net.ops);
        layer_attr(&net.graph->layer[1], "axis")->u.ints.n = 0;
        build_ok(graph_infer(net.graph));
        build_ok(graph_lower(net.graph, &net.ops, NULL));
        build_ok(params_create(net.ops, &net.params));
        *params_at(net.params, 0) = 0.5f;
        *params_at(net.params, 1) = zero ? 0 : 4;
        double y[N * 4 * 3];
        for (int k = 0; k < N * 4 * 3; k++) y[k] = ((double)net.x[0][k] - 0.5) / (zero ? 1e-7 : 2);
        net_run(&net, y, NULL);
        net_close(&net);
    }
}

static double rms_scaled(const struct net *net, double x, const int64_t *index) {
    double mean = mean_of(&net->out, net->x[0], 1u << 3, index, itself, 0);
    double variance = mean_of(&net->out, net->x[0], 1u << 3, index, square_about, mean);
    return x / sqrt(variance + 0.1) * parameter(net, 0, index[3]);
}

static double rms(const struct net *net, double x, const int64_t *index) {
    unsigned axes = 1u << 1 | 1u << 3;
    double square = mean_of(&net->out, net->x[0], axes, index, square_about, 0);
    return x / sqrt(square + 0.1) * parameter(net, 0, among(&net->out, axes, index));
}

static double layer_norm_of_rows(const struct net *net, double x, const int64_t *index) {
    double mean = mean_of(&net->out, net->x[0], 1u << 1, index, itself, 0);
    double variance = mean_of(&net->out, net->x[0], 1u << 1, index, square_about, mean);
    return (x - mean) / sqrt(variance + 0.1) * parameter(net, 0, index[1]) + parameter(net, 1, index[1]);
}

static double unit_of_rows_and_last(const struct net *net, double x, const int64_t *index) {
    const struct shape *s = &net->out;
    double square = mean_of(s, net->x[0], 1u << 1 | 1u << 3, index, square_about, 0);
    return x / sqrt(square * (double)(s->dim[1] * s->dim[3]));
}

static double softmax_of_rows_and_last(const struct net *net, double x, const int64_t *index) {
    const struct shape *s = &net->out;
    double mean = mean_of(s, net->x[0], 1u << 1 | 1u << 3, index, exponential, x);
    return 1 / (mean * (double)(s->dim[1] * s->dim[3]));
}

static double log_softmax(const struct net *net, double x, const int64_t *index) {
    return -log(mean_of(&net->out, net->x[0], 1u << 3, index, exponential, x) * (double)net->out.dim[3]);
}

static double batch_norm_of_rows(const struct net *net, double x, const int64_t *index) {
    int64_t c = index[1];
    return (x - parameter(net, 2, c)) / sqrt(parameter(net, 3, c) + 1e-3) * parameter(net, 0, c) +
           parameter(net, 1, c);
}

static void normalizations(void **state) {
    (void)state;
    check_each("LayerNormalization", "rms_scaling=true epsilon=0.1", "?,4,2,3", rms_scaled);
    check_each("LayerNormalization", "axis=1 epsilon=0.1", "?,4,2,3", layer_norm_of_rows);
    check_each("RMSNormalization", "axis=1,3 epsilon=0.1", "?,4,2,3", rms);
    check_each("UnitNormalization", "axis=1,3", "?,4,2,3", unit_of_rows_and_last);
    check_each("Softmax", "axis=1,3", "?,4,2,3", softmax_of_rows_and_last);
    check_each("Activation", "activation=log_softmax", "?,4,2,3", log_softmax);
    check_each("BatchNormalization", "axis=1", "?,4,2,3", batch_norm_of_rows);
}

/* Two groups of the six rows, normalized with all columns and channels. */
static double group_norm_of_rows(const struct net *net, double x, const int64_t *index) {
    const struct shape *s = &net->out;
    int64_t group = index[1] / 3, row = s->dim[2] * s->dim[3];
    const float *from = net->x[0] + (index[0] * 6 + group * 3) * row;
    double mean = 0, variance = 0, n = (double)(3 * row);
    for (int64_t k = 0; k < 3 * row; k++) mean += (double)from[k] / n;
    for (int64_t k = 0; k < 3 * row; k++) variance += square_about((double)from[k], mean) / n;
    return (x - mean) / sqrt(variance + 1e-3) * parameter(net, 0, index[1]) + parameter(net, 1, index[1]);
}

static void group_normalization(void **state) {
    (void)state;
    check_each("GroupNormalization", "groups=2 axis=1", "?,6,2,3", group_norm_of_rows);
}

/* Cosines of all pairs of vectors along axis 2 of (N,4,5,3) and axis 1 of (N,5,2). */
static void dot_normalized(void **state) {
    (void)state;
    struct net net;
    static const char *const inputs[] = {"?,4,5,3", "?,5,2"};
    net_open(&net, "Dot", "axes=2,1 normalize=true", 2, inputs);
    build_shape_is(&net.out, &SHAPE(N, 4, 3, 2));
    double y[N * 4 * 3 * 2], *to = y;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < 4; i++)
            for (int c = 0; c < 3; c++)
                for (int j = 0; j < 2; j++) {
                    double product = 0, a = 0, b = 0;
                    for (int k = 0; k < 5; k++) {
                        double u = (double)net.x[0][((n * 4 + i) * 5 + k) * 3 + c];
                        double v = (double)net.x[1][(n * 5 + k) * 2 + j];
                        product += u * v;
                        a += u * u;
                        b += v * v;
                    }
                    *to++ = product / sqrt(a * b);
                }
    net_run(&net, y, NULL);
    net_close(&net);
}

/* ---- channels first ---- */

/* Element of channels-last data with the index of channels-first data. */
static float moved(const struct shape *first, const float *last, const int64_t *index) {
    struct shape shape = *first;
    int64_t at[SHAPE_MAX_RANK];
    for (int i = 1; i < first->rank; i++) {
        int from = i + 1 < first->rank ? i + 1 : 1;
        shape.dim[i] = first->dim[from];
        at[i] = index[from];
    }
    at[0] = index[0];
    return last[among(&shape, (1u << shape.rank) - 1, at)];
}

static void channels_first(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs;
        bool sequence;
    } cases[] = {
        {"Conv2D", "filters=4 kernel_size=3,2 strides=2,1 padding=same activation=relu", false},
        {"Conv2D", "filters=4 kernel_size=3 groups=2", false},
        {"DepthwiseConv2D", "kernel_size=3 depth_multiplier=2", false},
        {"SeparableConv2D", "filters=5 kernel_size=3 padding=same", false},
        {"Conv2DTranspose", "filters=5 kernel_size=3 strides=2 padding=same output_padding=0,1", false},
        {"MaxPooling2D", "pool_size=3 strides=2 padding=same", false},
        {"AveragePooling2D", "pool_size=3 strides=2 padding=same", false},
        {"GlobalAveragePooling2D", "keepdims=true", false},
        {"ZeroPadding2D", "padding=1,2,0,3", false},
        {"Cropping2D", "cropping=1,2,0,3", false},
        {"UpSampling2D", "size=2,3 interpolation=bilinear", false},
        {"Resizing", "height=5 width=9", false},
        {"DepthToSpace", "block_size=2", false},
        {"SpaceToDepth", "block_size=2", false},
        {"Conv1D", "filters=4 kernel_size=3 padding=causal dilation_rate=2 activation=tanh", true},
        {"DepthwiseConv1D", "kernel_size=3 strides=2", true},
        {"SeparableConv1D", "filters=4 kernel_size=3", true},
        {"Conv1DTranspose", "filters=4 kernel_size=3 strides=2", true},
        {"MaxPooling1D", "", true},
        {"AveragePooling1D", "pool_size=3 padding=same strides=2", true},
        {"GlobalMaxPooling1D", "keepdims=true", true},
        {"ZeroPadding1D", "padding=1,2", true},
        {"Cropping1D", "cropping=2,1", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net last, first;
        char attrs[256];
        float *y_last, *y_first;
        int64_t index[SHAPE_MAX_RANK];
        snprintf(attrs, sizeof attrs, "%s data_format=channels_first", cases[i].attrs);
        net_one(&last, cases[i].class_name, cases[i].attrs, cases[i].sequence ? "?,9,4" : "?,8,10,4");
        net_one(&first, cases[i].class_name, attrs, cases[i].sequence ? "?,4,9" : "?,4,8,10");
        for (int64_t k = 0; k < count_of(&first.in[0]); k++) {
            to_index(&first.in[0], k, index);
            first.x[0][k] = moved(&first.in[0], last.x[0], index);
        }
        net_run(&last, NULL, &y_last);
        net_run(&first, NULL, &y_first);
        assert_int_equal(count_of(&first.out), count_of(&last.out));
        for (int64_t k = 0; k < count_of(&first.out); k++) {
            to_index(&first.out, k, index);
            float expected = moved(&first.out, y_last, index);
            if (fabsf(y_first[k] - expected) > 1e-6f * (1 + fabsf(expected)))
                fail_msg("%s %s: %g, not %g", cases[i].class_name, attrs, (double)y_first[k],
                         (double)expected);
        }
        free(y_last);
        free(y_first);
        net_close(&last);
        net_close(&first);
    }
}

/* Over the width, as in Keras: the last axis, whatever comes first. */
static void softmax_of_channels_first(void **state) {
    (void)state;
    struct net net;
    float *y;
    net_one(&net, "Conv2D", "filters=4 kernel_size=3 activation=softmax data_format=channels_first",
            "?,3,5,6");
    net_run(&net, NULL, &y);
    build_shape_is(&net.out, &SHAPE(N, 4, 3, 4));
    for (int row = 0; row < N * 4 * 3; row++) {
        double sum = 0;
        for (int i = 0; i < 4; i++) sum += (double)y[row * 4 + i];
        assert_true(fabs(sum - 1) < 1e-5);
    }
    free(y);
    net_close(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations),          cmocka_unit_test(normalization),
        cmocka_unit_test(normalization_of_all), cmocka_unit_test(normalizations),
        cmocka_unit_test(group_normalization),  cmocka_unit_test(dot_normalized),
        cmocka_unit_test(channels_first),       cmocka_unit_test(softmax_of_channels_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

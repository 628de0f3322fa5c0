/* Every operation with its variants, on every engine: forward against the definition in double precision,
 * gradients against central differences of that. */
#include "worker/engine_check.h"
#include "worker/nets.h"
#include "worker/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(struct opgraph *g, int output, int64_t batch) {
    net_finish(g, 1, &output);
    struct trial *t = trial_create(g, batch, 3);
    trial_check(t);
    trial_destroy(t);
}

static void check_conv(struct shape in, int height, int width, int filters, struct window_options o) {
    struct opgraph *g = net_create();
    check(g, net_conv(g, net_input(g, in), height, width, filters, o), 2);
}

static void conv(void **state) {
    (void)state;
    struct shape s = SHAPE(-1, 7, 6, 4);
    check_conv(s, 3, 3, 5, (struct window_options){.same = true});
    check_conv(s, 3, 3, 8, (struct window_options){.no_bias = true});
    check_conv(s, 1, 1, 6, (struct window_options){.no_bias = true});
    check_conv(s, 1, 1, 16, (struct window_options){0});
    check_conv(s, 1, 1, 3, (struct window_options){.stride = {2, 2}});
    check_conv(s, 3, 2, 5, (struct window_options){.stride = {2, 1}, .same = true});
    check_conv(s, 2, 3, 5, (struct window_options){.stride = {1, 2}, .before = {0, 1}, .after = {1, 0}});
    check_conv(s, 3, 3, 5, (struct window_options){.stride = {3, 2}, .before = {2, 0}, .after = {0, 2}});
    check_conv(s, 3, 3, 4, (struct window_options){.dilation = {2, 2}, .same = true});
    check_conv(s, 3, 2, 4, (struct window_options){.dilation = {1, 3}, .before = {1, 2}, .after = {2, 1}});
    check_conv(s, 5, 5, 2, (struct window_options){.same = true});
    check_conv(s, 7, 6, 3, (struct window_options){0});
    check_conv(SHAPE(-1, 8, 8, 1), 3, 3, 4, (struct window_options){.same = true});
    check_conv(SHAPE(-1, 9, 9, 3), 3, 3, 16, (struct window_options){.stride = {2, 2}, .same = true});
    check_conv(SHAPE(-1, 5, 1, 3), 3, 1, 4, (struct window_options){.same = true});
    check_conv(SHAPE(-1, 2, 2, 3), 3, 3, 4, (struct window_options){.before = {3, 3}, .after = {3, 3}});
}

static void conv_groups(void **state) {
    (void)state;
    struct shape s = SHAPE(-1, 6, 5, 6);
    check_conv(s, 3, 3, 4, (struct window_options){.groups = 2, .same = true});
    check_conv(s, 3, 3, 6,
               (struct window_options){.groups = 3, .stride = {2, 2}, .same = true, .no_bias = true});
    check_conv(s, 1, 1, 9, (struct window_options){.groups = 3});
    check_conv(s, 3, 3, 6, (struct window_options){.groups = 6, .same = true});
    check_conv(s, 2, 2, 4, (struct window_options){.groups = 2, .dilation = {2, 2}, .after = {1, 1}});
    check_conv(SHAPE(-1, 6, 6, 32), 3, 3, 64, (struct window_options){.groups = 2, .same = true});
}

/* Enough output pixels and channels that an engine cuts the work into pieces. */
static void conv_large(void **state) {
    (void)state;
    check_conv(SHAPE(-1, 28, 28, 32), 3, 3, 24, (struct window_options){.same = true});
}

static void check_depthwise(struct shape in, int height, int width, int multiplier, struct window_options o) {
    struct opgraph *g = net_create();
    check(g, net_depthwise(g, net_input(g, in), height, width, multiplier, o), 2);
}

static void depthwise(void **state) {
    (void)state;
    struct shape s = SHAPE(-1, 7, 6, 4);
    check_depthwise(s, 3, 3, 1, (struct window_options){.same = true});
    check_depthwise(s, 3, 3, 1, (struct window_options){.no_bias = true});
    check_depthwise(s, 3, 3, 2, (struct window_options){.same = true});
    check_depthwise(s, 3, 3, 3, (struct window_options){.stride = {2, 2}, .same = true, .no_bias = true});
    check_depthwise(s, 3, 2, 1, (struct window_options){.stride = {2, 1}, .before = {0, 1}, .after = {1, 0}});
    check_depthwise(s, 3, 3, 1, (struct window_options){.dilation = {2, 2}, .same = true});
    check_depthwise(s, 5, 5, 1, (struct window_options){.stride = {2, 2}, .same = true});
    check_depthwise(s, 1, 1, 2, (struct window_options){0});
    check_depthwise(SHAPE(-1, 6, 6, 1), 3, 3, 4, (struct window_options){.same = true});
    check_depthwise(SHAPE(-1, 6, 6, 32), 3, 3, 1, (struct window_options){.same = true});
    check_depthwise(SHAPE(-1, 2, 2, 3), 3, 3, 2, (struct window_options){.before = {3, 3}, .after = {3, 3}});
}

static void check_dense(struct shape in, int units, bool bias, int64_t batch) {
    struct opgraph *g = net_create();
    check(g, net_dense(g, net_input(g, in), units, bias), batch);
}

static void dense(void **state) {
    (void)state;
    check_dense(SHAPE(-1, 7), 5, true, 3);
    check_dense(SHAPE(-1, 7), 5, false, 3);
    check_dense(SHAPE(-1, 33), 300, true, 1);
    check_dense(SHAPE(-1, 16), 1, true, 19);
    check_dense(SHAPE(-1, 4, 6), 3, true, 2);
    check_dense(SHAPE(-1, 3, 5, 6), 4, true, 2);
    check_dense(SHAPE(-1, 3, 5, 6), 4, false, 2);
}

static void batch_norm(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct opgraph *g = net_create();
        check(g, net_batch_norm(g, net_input(g, SHAPE(-1, 4, 5, 6)), i & 1, i & 2), 3);
    }
    struct opgraph *g = net_create();
    check(g, net_batch_norm(g, net_input(g, SHAPE(-1, 7)), true, true), 5);
    g = net_create();
    check(g, net_batch_norm(g, net_input(g, SHAPE(-1, 3, 16)), true, true), 4);
    g = net_create();
    check(g, net_batch_norm(g, net_input(g, SHAPE(-1, 2, 2, 2, 3)), true, true), 2);
}

static void check_activation(enum activation kind, float alpha, float beta, float gamma) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 5, 4, 3));
    /* Spread, so that all branches are met. */
    float three = 3, zero = 0;
    check(g, net_activation(g, net_affine(g, x, 1, &three, &zero), kind, alpha, beta, gamma), 3);
}

static void activation(void **state) {
    (void)state;
    check_activation(ACTIVATION_LINEAR, 0, 0, 0);
    check_activation(ACTIVATION_RELU, 0, INFINITY, 0);
    check_activation(ACTIVATION_RELU, 0, 6, 0);
    check_activation(ACTIVATION_RELU, 0.2f, INFINITY, 0);
    check_activation(ACTIVATION_RELU, 0.1f, 4, 0.5f);
    check_activation(ACTIVATION_RELU, 0, INFINITY, 1);
    check_activation(ACTIVATION_SIGMOID, 0, 0, 0);
    check_activation(ACTIVATION_TANH, 0, 0, 0);
    check_activation(ACTIVATION_SOFTPLUS, 0, 0, 0);
    check_activation(ACTIVATION_SOFTSIGN, 0, 0, 0);
    check_activation(ACTIVATION_ELU, 1, 0, 0);
    check_activation(ACTIVATION_ELU, 0.3f, 0, 0);
    check_activation(ACTIVATION_SELU, 0, 0, 0);
    check_activation(ACTIVATION_EXPONENTIAL, 0, 0, 0);
    check_activation(ACTIVATION_SILU, 0, 0, 0);
    check_activation(ACTIVATION_GELU, 0, 0, 0);
    check_activation(ACTIVATION_GELU_TANH, 0, 0, 0);
    check_activation(ACTIVATION_HARD_SIGMOID, 0.2f, 0.5f, 0);
    check_activation(ACTIVATION_HARD_SIGMOID, 1.0f / 6, 0.5f, 0);
    check_activation(ACTIVATION_HARD_SILU, 0, 0, 0);
    check_activation(ACTIVATION_MISH, 0, 0, 0);
    check_activation(ACTIVATION_CLIP, -1, 2, 0);
    check_activation(ACTIVATION_RSQRT, 0, 0.5f, 0.25f);
    check_activation(ACTIVATION_RSQRT, 0, 1, 1.5f);
    struct opgraph *g = net_create(); /* of what is above 1 */
    int x = net_activation(g, net_input(g, SHAPE(-1, 5, 4, 3)), ACTIVATION_SOFTPLUS, 0, 0, 0);
    float one = 1;
    check(g, net_activation(g, net_affine(g, x, 1, &one, &one), ACTIVATION_LOG, 0, 0, 0), 3);
}

/* Large arguments neither overflow nor hide a NaN. */
static void activation_extremes(void **state) {
    (void)state;
    static const float x[] = {-INFINITY, -1e4f, -100, -0.0f, 0, 100, 1e4f, INFINITY, NAN};
    enum { N = sizeof x / sizeof x[0] };
    static const struct {
        enum activation kind;
        float y[N - 1];
    } cases[] = {
        {ACTIVATION_RELU, {0, 0, 0, 0, 0, 6, 6, 6}},
        {ACTIVATION_SIGMOID, {0, 0, 0, 0.5f, 0.5f, 1, 1, 1}},
        {ACTIVATION_TANH, {-1, -1, -1, 0, 0, 1, 1, 1}},
        {ACTIVATION_SOFTPLUS, {0, 0, 0, 0.693147181f, 0.693147181f, 100, 1e4f, INFINITY}},
        {ACTIVATION_HARD_SIGMOID, {0, 0, 0, 0.5f, 0.5f, 1, 1, 1}},
        {ACTIVATION_MISH, {NAN, 0, 0, 0, 0, 100, 1e4f, INFINITY}},
        {ACTIVATION_CLIP, {0, 0, 0, 0, 0, 6, 6, 6}},
        {ACTIVATION_RSQRT,
         {INFINITY, INFINITY, INFINITY, 0.408248290f, 0.408248290f, 0.0971285862f, 0.00999700135f, 0}},
    };
    for (int e = 0; e < engine_count(); e++)
        for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
            struct opgraph *g = net_create();
            bool hard = cases[k].kind == ACTIVATION_HARD_SIGMOID;
            int y = net_activation(g, net_input(g, SHAPE(-1, N)), cases[k].kind, hard ? 0.2f : 0,
                                   hard ? 0.5f : 6, 0);
            net_finish(g, 1, &y);
            struct exec *exec = exec_must(
                engine_at(e), g, &(struct exec_options){.batch = 1, .mode = EXEC_INFER, .threads = 1});
            const float *inputs[] = {x};
            must(exec_forward(exec, inputs));
            const float *out = exec_output(exec, 0);
            for (int i = 0; i < N - 1; i++) {
                if (fabsf(out[i] - cases[k].y[i]) <= 1e-6f || out[i] == cases[k].y[i] ||
                    (isnan(out[i]) && isnan(cases[k].y[i])))
                    continue;
                print_error("%s: %s of %g is %g\n", engine_at(e)->name, activation_name(cases[k].kind),
                            (double)x[i], (double)out[i]);
                fail();
            }
            assert_true(isnan(out[N - 1]));
            exec_destroy(&exec);
            opgraph_destroy(&g);
        }
}

static void softmax(void **state) {
    (void)state;
    for (int axis = 1; axis <= 3; axis++) {
        struct opgraph *g = net_create();
        check(g, net_softmax(g, net_input(g, SHAPE(-1, 4, 3, 5)), axis), 2);
        g = net_create();
        check(g, net_softmax(g, net_input(g, SHAPE(-1, 3, 10, 9)), axis), 2);
    }
    struct opgraph *g = net_create();
    check(g, net_softmax(g, net_input(g, SHAPE(-1, 10)), 1), 3);
}

static void check_binary(enum binary kind, struct shape a, struct shape b) {
    struct opgraph *g = net_create();
    int x = net_input(g, a), y = net_input(g, b);
    check(g, net_binary(g, kind, x, y), 3);
}

static void binary(void **state) {
    (void)state;
    for (enum binary kind = BINARY_ADD; kind <= BINARY_MIN; kind++) {
        if (kind == BINARY_DIV) continue; /* its divisors are not to be near zero */
        check_binary(kind, SHAPE(-1, 4, 3, 5), SHAPE(-1, 4, 3, 5));
        check_binary(kind, SHAPE(-1, 4, 3, 5), SHAPE(-1, 1, 1, 5));
        check_binary(kind, SHAPE(-1, 1, 1, 5), SHAPE(-1, 4, 3, 5));
        check_binary(kind, SHAPE(-1, 4, 3, 5), SHAPE(-1, 4, 3, 1));
        check_binary(kind, SHAPE(-1, 4, 1, 5), SHAPE(-1, 1, 3, 1));
        check_binary(kind, SHAPE(-1, 7), SHAPE(-1, 7));
        check_binary(kind, SHAPE(-1, 7), SHAPE(-1, 1));
        check_binary(kind, SHAPE(-1, 2, 6), SHAPE(-1, 1, 6));
    }
}

/* x + x and x * x: the gradient comes by both inputs. */
static void binary_same_value(void **state) {
    (void)state;
    for (enum binary kind = BINARY_ADD; kind <= BINARY_MUL; kind++) {
        struct opgraph *g = net_create();
        int x = net_input(g, SHAPE(-1, 3, 4));
        check(g, net_binary(g, kind, x, x), 2);
    }
}

static void concat(void **state) {
    (void)state;
    for (int axis = 1; axis <= 3; axis++) {
        struct opgraph *g = net_create();
        struct shape shape = SHAPE(-1, 3, 4, 5);
        int x[3];
        for (int i = 0; i < 3; i++) {
            shape.dim[axis] = 2 + 3 * i;
            x[i] = net_input(g, shape);
        }
        check(g, net_concat(g, axis, 3, x), 2);
    }
    struct opgraph *g = net_create();
    int x[3] = {net_input(g, SHAPE(-1, 3)), net_input(g, SHAPE(-1, 4)), 0};
    x[2] = x[0];
    check(g, net_concat(g, 1, 3, x), 2);
    g = net_create();
    int one = net_input(g, SHAPE(-1, 3));
    check(g, net_concat(g, 1, 1, &one), 2);
}

static void check_pool(enum pool kind, struct shape in, int height, int width, struct window_options o) {
    struct opgraph *g = net_create();
    check(g, net_pool(g, net_input(g, in), kind, height, width, o), 2);
}

static void pool(void **state) {
    (void)state;
    for (enum pool kind = POOL_MAX; kind <= POOL_MEAN; kind++) {
        struct shape s = SHAPE(-1, 7, 6, 3);
        check_pool(kind, s, 2, 2, (struct window_options){.stride = {2, 2}});
        check_pool(kind, s, 2, 2, (struct window_options){.stride = {2, 2}, .same = true});
        check_pool(kind, s, 3, 3, (struct window_options){.stride = {2, 2}, .same = true});
        check_pool(kind, s, 3, 3, (struct window_options){.same = true});
        check_pool(kind, s, 3, 2, (struct window_options){.stride = {1, 2}});
        check_pool(kind, s, 3, 3,
                   (struct window_options){.stride = {2, 2}, .before = {1, 1}, .after = {1, 1}});
        check_pool(kind, s, 7, 6, (struct window_options){0});
        check_pool(kind, SHAPE(-1, 8, 8, 16), 2, 2, (struct window_options){.stride = {2, 2}});
    }
}

/* All values negative: a padded cell must not win. */
static void pool_negative(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    float one = 1, minus = -10;
    int x = net_affine(g, net_input(g, SHAPE(-1, 5, 5, 4)), 1, &one, &minus);
    check(g, net_pool(g, x, POOL_MAX, 3, 3, (struct window_options){.stride = {2, 2}, .same = true}), 2);
}

static void reduce(void **state) {
    (void)state;
    static const unsigned axes[] = {6, 2, 4, 8, 10, 12, 14};
    for (enum reduce kind = REDUCE_MEAN; kind <= REDUCE_SUM; kind++)
        for (size_t i = 0; i < sizeof axes / sizeof axes[0]; i++)
            for (int keepdims = 0; keepdims < 2; keepdims++) {
                struct opgraph *g = net_create();
                check(g, net_reduce(g, net_input(g, SHAPE(-1, 4, 3, 5)), kind, axes[i], keepdims), 2);
            }
    struct opgraph *g = net_create();
    check(g, net_reduce(g, net_input(g, SHAPE(-1, 7, 7, 16)), REDUCE_MEAN, 6, false), 3);
    g = net_create();
    check(g, net_reduce(g, net_input(g, SHAPE(-1, 9, 4)), REDUCE_MEAN, 2, false), 3);
}

static void pad(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    check(g, net_pad(g, net_input(g, SHAPE(-1, 4, 3, 5)), (int[]){0, 1, 2, 0}, (int[]){0, 2, 0, 0}), 2);
    g = net_create();
    check(g, net_pad(g, net_input(g, SHAPE(-1, 4, 3, 5)), (int[]){0, 0, 1, 2}, (int[]){0, 1, 1, 1}), 2);
    g = net_create();
    check(g, net_pad(g, net_input(g, SHAPE(-1, 4, 3)), (int[]){0, 2, 0}, (int[]){0, 1, 0}), 2);
    g = net_create();
    check(g, net_pad(g, net_input(g, SHAPE(-1, 4)), (int[]){0, 2}, (int[]){0, 1}), 2);
}

/* Up and down, by whole factors and others, and to the same size. */
static void resize(void **state) {
    (void)state;
    static const int sizes[][2] = {{6, 8}, {3, 12}, {9, 8}, {12, 4}, {4, 7}, {5, 5}, {2, 3}, {1, 2}, {3, 4}};
    for (enum resize kind = RESIZE_NEAREST; kind <= RESIZE_BILINEAR; kind++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct opgraph *g = net_create();
            check(g, net_resize(g, net_input(g, SHAPE(-1, 3, 4, 5)), kind, sizes[i][0], sizes[i][1]), 2);
        }
        struct opgraph *g = net_create();
        check(g, net_resize(g, net_input(g, SHAPE(-1, 1, 1, 3)), kind, 2, 2), 2);
        g = net_create();
        check(g, net_resize(g, net_input(g, SHAPE(-1, 17, 13, 2)), kind, 5, 31), 2);
    }
}

/* What TensorFlow 2's tf.image.resize gives for a ramp 0, 1, 2, ... by its formulas, worked out by hand. */
static void resize_ramp(void **state) {
    (void)state;
    static const struct {
        enum resize kind;
        int in, out;
        float y[6];
    } cases[] = {
        {RESIZE_NEAREST, 4, 2, {1, 3}},        {RESIZE_NEAREST, 2, 4, {0, 0, 1, 1}},
        {RESIZE_NEAREST, 5, 3, {0, 2, 4}},     {RESIZE_NEAREST, 3, 5, {0, 0, 1, 2, 2}},
        {RESIZE_BILINEAR, 4, 2, {0.5f, 2.5f}}, {RESIZE_BILINEAR, 2, 4, {0, 0.25f, 0.75f, 1}},
        {RESIZE_BILINEAR, 6, 2, {1, 4}},       {RESIZE_BILINEAR, 3, 6, {0, 0.25f, 0.75f, 1.25f, 1.75f, 2}},
    };
    static const float ramp[] = {0, 1, 2, 3, 4, 5};
    for (int e = 0; e < engine_count(); e++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct opgraph *g = net_create();
            int y = net_resize(g, net_input(g, SHAPE(-1, cases[i].in, 1, 1)), cases[i].kind, cases[i].out, 1);
            net_finish(g, 1, &y);
            struct exec *exec = exec_must(
                engine_at(e), g, &(struct exec_options){.batch = 1, .mode = EXEC_INFER, .threads = 1});
            must(exec_forward(exec, (const float *[]){ramp}));
            assert_close("ramp", exec_output(exec, 0), cases[i].y, cases[i].out, 1e-6);
            exec_destroy(&exec);
            opgraph_destroy(&g);
        }
}

static void affine(void **state) {
    (void)state;
    float scale[] = {1.0f / 255, 0.5f, -2}, offset[] = {-0.3f, 0, 7};
    struct opgraph *g = net_create();
    check(g, net_affine(g, net_input(g, SHAPE(-1, 4, 5, 3)), 1, scale, offset), 2);
    g = net_create();
    check(g, net_affine(g, net_input(g, SHAPE(-1, 4, 5, 3)), 3, scale, offset), 2);
    g = net_create();
    check(g, net_affine(g, net_input(g, SHAPE(-1, 3)), 3, scale, offset), 2);
}

static void reshape(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    check(g, net_reshape(g, net_input(g, SHAPE(-1, 4, 5, 3)), SHAPE(-1, 60)), 2);
    g = net_create();
    int x =
        net_reshape(g, net_reshape(g, net_input(g, SHAPE(-1, 4, 6)), SHAPE(-1, 2, 3, 4)), SHAPE(-1, 8, 3));
    check(g, net_relu(g, x), 2);
    /* Between operations that an engine may keep in a layout of its own. */
    g = net_create();
    x = net_conv(g, net_input(g, SHAPE(-1, 4, 4, 16)), 3, 3, 16, (struct window_options){.same = true});
    x = net_conv(g, net_reshape(g, x, SHAPE(-1, 8, 2, 16)), 3, 3, 16, (struct window_options){.same = true});
    check(g, net_dense(g, net_reshape(g, x, SHAPE(-1, 256)), 4, true), 2);
}

/* Elements are dropped or scaled by 1/(1 - rate), about `rate` of them are dropped, and the gradient goes the
 * same way. */
static void dropout(void **state) {
    (void)state;
    enum { BATCH = 4, N = 1000 };
    struct opgraph *g = net_create();
    int y = net_dropout(g, net_input(g, SHAPE(-1, N)), 0.3f);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, BATCH, 1);
    float first[BATCH * N];
    for (int e = 0; e < engine_count(); e++) {
        struct exec_options options = {
            .batch = BATCH, .mode = EXEC_TRAIN, .threads = 1, .seed = 5, .input_grads = true};
        struct exec *exec = exec_must(engine_at(e), g, &options);
        struct params *grads;
        must(params_create(g, &grads));
        exec_set_step(exec, 12, 100);
        must(exec_forward(exec, trial_inputs(t)));
        must(exec_backward(exec, trial_weights(t), grads));
        const float *out = exec_output(exec, 0), *x = t->input[0], *dy = t->weight[0];
        const float *dx = exec_input_grad(exec, 0);
        int dropped = 0;
        for (int i = 0; i < BATCH * N; i++) {
            bool drop = out[i] == 0;
            dropped += drop;
            if (!drop) assert_true(fabsf(out[i] - x[i] / 0.7f) <= 1e-6f * fabsf(out[i]));
            assert_true(fabsf(dx[i] - (drop ? 0 : dy[i] / 0.7f)) <= 1e-6f * fabsf(dx[i]));
        }
        /* 4000 trials at 0.3: the standard deviation is 29. */
        assert_in_range(dropped, 1200 - 5 * 29, 1200 + 5 * 29);
        /* Samples and steps differ. */
        assert_memory_not_equal(out, out + N, N * sizeof *out);
        if (e == 0) memcpy(first, out, sizeof first);
        else assert_memory_equal(out, first, sizeof first); /* the same masks from every engine */
        exec_set_step(exec, 13, 100);
        must(exec_forward(exec, trial_inputs(t)));
        assert_memory_not_equal(exec_output(exec, 0), first, sizeof first);

        /* The second half of the batch on its own: masks follow the sample, not the place in the batch. */
        options.batch = BATCH / 2;
        options.threads = 2;
        struct exec *half = exec_must(engine_at(e), g, &options);
        exec_set_step(half, 12, 100 + BATCH / 2);
        const float *inputs[] = {t->input[0] + BATCH / 2 * N};
        must(exec_forward(half, inputs));
        assert_memory_equal(exec_output(half, 0), first + BATCH / 2 * N, BATCH / 2 * N * sizeof *first);
        exec_destroy(&half);
        exec_destroy(&exec);
        params_destroy(&grads);
    }
    trial_destroy(t);
}

/* One draw for all of an axis: whole channels of an image, or whole places, are dropped. */
static void dropout_shared(void **state) {
    (void)state;
    enum { BATCH = 3, H = 5, W = 4, C = 40 };
    for (int spatial = 0; spatial < 2; spatial++) {
        struct opgraph *g = net_create();
        int y = net_dropout(g, net_input(g, SHAPE(-1, H, W, C)), 0.4f);
        g->op[0].u.dropout.shared = spatial ? 1u << 1 | 1u << 2 : 1u << 3;
        net_finish(g, 1, &y);
        struct trial *t = trial_create(g, BATCH, 1);
        for (int e = 0; e < engine_count(); e++) {
            struct exec_options options = {
                .batch = BATCH, .mode = EXEC_TRAIN, .threads = 2, .seed = 5, .input_grads = true};
            struct exec *exec = exec_must(engine_at(e), g, &options);
            struct params *grads;
            must(params_create(g, &grads));
            must(exec_forward(exec, trial_inputs(t)));
            must(exec_backward(exec, trial_weights(t), grads));
            const float *out = exec_output(exec, 0), *x = t->input[0], *dy = t->weight[0];
            const float *dx = exec_input_grad(exec, 0);
            int dropped = 0;
            for (int i = 0; i < BATCH * H * W * C; i++) {
                /* The first element that shares the draw. */
                int n = i / (H * W * C), first = spatial ? n * H * W * C + i % C : i / C * C;
                bool drop = out[first] == 0;
                dropped += drop;
                assert_true(fabsf(out[i] - (drop ? 0 : x[i] / 0.6f)) <= 1e-6f * fabsf(out[i]));
                assert_true(fabsf(dx[i] - (drop ? 0 : dy[i] / 0.6f)) <= 1e-6f * fabsf(dx[i]));
            }
            assert_in_range(dropped, BATCH * H * W * C / 5, BATCH * H * W * C * 3 / 5);
            params_destroy(&grads);
            exec_destroy(&exec);
        }
        trial_destroy(t);
    }
}

/* In inference, and at rate 0, dropout is the identity. */
static void dropout_off(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    check(g, net_dropout(g, net_relu(g, net_input(g, SHAPE(-1, 4, 5))), 0), 2);
    g = net_create();
    int y = net_dropout(g, net_input(g, SHAPE(-1, 50)), 0.9f);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 2, 1);
    for (int e = 0; e < engine_count(); e++) {
        struct exec *exec =
            exec_must(engine_at(e), g, &(struct exec_options){.batch = 2, .mode = EXEC_INFER, .threads = 1});
        must(exec_forward(exec, trial_inputs(t)));
        assert_memory_equal(exec_output(exec, 0), t->input[0], 100 * sizeof(float));
        exec_destroy(&exec);
    }
    trial_destroy(t);
}

static void find(void **state) {
    (void)state;
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    assert_string_equal(engine->name, "openblas");
    must(engine_find(NULL, &engine));
    assert_ptr_equal(engine, engine_at(0));
    must(engine_find("auto", &engine));
    assert_ptr_equal(engine, engine_at(0));
    status error = engine_find("abacus", &engine);
    assert_int_equal(status_code(error), STATUS_USAGE);
    assert_non_null(strstr(status_message(error), "abacus"));
    assert_non_null(strstr(status_message(error), "openblas"));
    status_drop(&error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find),
        cmocka_unit_test(conv),
        cmocka_unit_test(conv_groups),
        cmocka_unit_test(conv_large),
        cmocka_unit_test(depthwise),
        cmocka_unit_test(dense),
        cmocka_unit_test(batch_norm),
        cmocka_unit_test(activation),
        cmocka_unit_test(activation_extremes),
        cmocka_unit_test(softmax),
        cmocka_unit_test(binary),
        cmocka_unit_test(binary_same_value),
        cmocka_unit_test(concat),
        cmocka_unit_test(pool),
        cmocka_unit_test(pool_negative),
        cmocka_unit_test(reduce),
        cmocka_unit_test(pad),
        cmocka_unit_test(resize),
        cmocka_unit_test(resize_ramp),
        cmocka_unit_test(affine),
        cmocka_unit_test(reshape),
        cmocka_unit_test(dropout),
        cmocka_unit_test(dropout_shared),
        cmocka_unit_test(dropout_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

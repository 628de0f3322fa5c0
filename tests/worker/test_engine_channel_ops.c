/* Normalizations, factors and comparisons of elements on every engine: forward against the definition in
 * double precision, gradients against central differences of that. */
#include "worker/engine_check.h"
#include "worker/nets.h"

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

static void layer_norm(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct opgraph *g = net_create();
        check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 4, 7)), 4, i & 1, i & 2), 3);
        g = net_create();
        check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 4, 3, 5)), 2 | 8, i & 1, i & 2), 2);
    }
    static const unsigned axes[] = {2, 4, 8, 6, 10, 12, 14};
    for (size_t i = 0; i < sizeof axes / sizeof axes[0]; i++) {
        struct opgraph *g = net_create();
        check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 4, 3, 5)), axes[i], true, true), 2);
    }
    struct opgraph *g = net_create();
    check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 70)), 2, true, true), 3);
    g = net_create();
    check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 40, 500)), 4, true, true), 2);
    g = net_create(); /* groups of channels over height and width */
    check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 3, 3, 2, 4)), 2 | 4 | 16, false, false), 2);
    g = net_create();
    check(g, net_layer_norm(g, net_input(g, SHAPE(-1, 2, 3, 1, 2, 2, 3, 2)), 2 | 8 | 32 | 128, true, true),
          2);
}

/* A first element far from all others. */
static void layer_norm_outlier(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int y = net_layer_norm(g, net_input(g, SHAPE(-1, 2, 96)), 4, true, true);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 2, 3);
    for (int i = 0; i < 4; i++) t->input[0][i * 96] = 1000;
    trial_check(t);
    trial_destroy(t);
}

/* Values far from zero: their mean is not lost to rounding. */
static void layer_norm_offset(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    float scale = 1.0f / 64, offset = 1000; /* steps of 2^-14 at 1000: the input is exact */
    int y =
        net_layer_norm(g, net_affine(g, net_input(g, SHAPE(-1, 4, 96)), 1, &scale, &offset), 4, true, true);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 2, 3);
    for (int64_t i = 0; i < 2 * 4 * 96; i++) t->input[0][i] = roundf(t->input[0][i] * 64) / 64;
    trial_check(t);
    trial_destroy(t);
}

static void scale(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct opgraph *g = net_create();
        check(g, net_scale(g, net_input(g, SHAPE(-1, 4, 3, 5)), i & 1, i & 2), 3);
        g = net_create();
        check(g, net_scale(g, net_input(g, SHAPE(-1, 7)), i & 1, i & 2), 3);
    }
    struct opgraph *g = net_create();
    check(g, net_scale(g, net_input(g, SHAPE(-1, 12, 14, 70)), true, true), 2);
}

static void prelu(void **state) {
    (void)state;
    static const struct {
        struct shape in, alpha;
    } cases[] = {
        {{4, {-1, 4, 3, 5}}, {3, {4, 3, 5}}},
        {{4, {-1, 4, 3, 5}}, {3, {1, 1, 5}}},
        {{4, {-1, 4, 3, 5}}, {3, {1, 1, 1}}},
        {{4, {-1, 4, 3, 5}}, {3, {4, 1, 1}}},
        {{4, {-1, 4, 3, 5}}, {3, {1, 3, 1}}},
        {{2, {-1, 6}}, {1, {6}}},
        {{2, {-1, 6}}, {1, {1}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct opgraph *g = net_create();
        check(g, net_prelu(g, net_input(g, cases[i].in), cases[i].alpha), 3);
    }
}

/* By its moving statistics in every mode; the reference knows. */
static void batch_norm_fixed(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    check(g, net_batch_norm_fixed(g, net_input(g, SHAPE(-1, 4, 5, 6))), 3);
    g = net_create();
    int x = net_conv(g, net_input(g, SHAPE(-1, 6, 6, 3)), 3, 3, 8, (struct window_options){.same = true});
    check(g, net_relu(g, net_batch_norm(g, net_relu(g, net_batch_norm_fixed(g, x)), true, true)), 3);
}

/* The moving statistics of a fixed one do not move, and nothing is summed over ranks. */
static status must_not_sum(void *context, double *v, int n) {
    (void)v;
    (void)n;
    *(bool *)context = true;
    return SUCCESS;
}

static void batch_norm_fixed_stays(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int y = net_batch_norm_fixed(g, net_input(g, SHAPE(-1, 4, 5)));
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 3, 3);
    for (int e = 0; e < engine_count(); e++) {
        bool summed = false;
        struct exec_options options = {.batch = 3,
                                       .mode = EXEC_TRAIN,
                                       .threads = 1,
                                       .batch_norm = BATCH_NORM_BATCH,
                                       .sum = must_not_sum,
                                       .global_batch = 6,
                                       .input_grads = true,
                                       .context = &summed};
        struct exec *exec = exec_must(engine_at(e), g, &options);
        struct params *params, *grads;
        must(params_clone(t->params, &params));
        must(params_create(g, &grads));
        must(exec_set_params(exec, params));
        must(exec_forward(exec, trial_inputs(t)));
        must(exec_backward(exec, trial_weights(t), grads));
        assert_false(summed);
        assert_memory_equal(params->data, t->params->data, (size_t)params->total * sizeof(float));
        params_destroy(&params);
        params_destroy(&grads);
        exec_destroy(&exec);
    }
    trial_destroy(t);
}

/* The divisor is kept away from zero. */
static int away_from_zero(struct opgraph *g, int x) {
    float one = 1, two = 2;
    return net_affine(g, net_activation(g, x, ACTIVATION_SIGMOID, 0, 0, 0), 1, &one, &two);
}

static void divide(void **state) {
    (void)state;
    static const struct shape shapes[][2] = {
        {{4, {-1, 4, 3, 5}}, {4, {-1, 4, 3, 5}}},
        {{4, {-1, 4, 3, 5}}, {4, {-1, 1, 1, 5}}},
        {{4, {-1, 4, 3, 1}}, {4, {-1, 4, 3, 5}}},
        {{4, {-1, 4, 1, 5}}, {4, {-1, 1, 3, 1}}},
        {{2, {-1, 7}}, {2, {-1, 1}}},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct opgraph *g = net_create();
        int a = net_input(g, shapes[i][0]), b = net_input(g, shapes[i][1]);
        check(g, net_binary(g, BINARY_DIV, a, away_from_zero(g, b)), 3);
    }
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 6));
    check(g, net_binary(g, BINARY_DIV, x, away_from_zero(g, x)), 2);
}

/* A mask of the elements that differ from a number. */
static void not_equal(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int y = net_activation(g, net_input(g, SHAPE(-1, 5)), ACTIVATION_NOT_EQUAL, 0, 0, 3);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 1, 1);
    static const float x[] = {3, 0, -3, 3.0000002f, 3}, expected[] = {0, 1, 1, 1, 0};
    memcpy(t->input[0], x, sizeof x);
    struct params *grads;
    must(params_create(g, &grads));
    for (int e = 0; e < engine_count(); e++) {
        struct exec_options options = {.batch = 1, .mode = EXEC_TRAIN, .threads = 1, .input_grads = true};
        struct exec *exec = exec_must(engine_at(e), g, &options);
        must(exec_set_params(exec, t->params));
        must(exec_forward(exec, trial_inputs(t)));
        assert_memory_equal(exec_output(exec, 0), expected, sizeof expected);
        must(exec_backward(exec, trial_weights(t), grads));
        for (int i = 0; i < 5; i++) assert_true(exec_input_grad(exec, 0)[i] == 0);
        exec_destroy(&exec);
    }
    params_destroy(&grads);
    trial_destroy(t);
}

/* Values of eight axes. */
static void eight_axes(void **state) {
    (void)state;
    const struct shape s = SHAPE(-1, 2, 1, 3, 2, 2, 1, 3);
    struct opgraph *g = net_create();
    check(g, net_softmax(g, net_input(g, s), 3), 2);
    g = net_create();
    check(g, net_prelu(g, net_input(g, s), SHAPE(2, 1, 1, 2, 1, 1, 3)), 2);
    g = net_create();
    check(g, net_scale(g, net_input(g, s), true, true), 2);
    g = net_create();
    check(g, net_batch_norm(g, net_input(g, s), true, true), 2);
    g = net_create();
    check(g, net_dense(g, net_input(g, s), 4, true), 2);
    for (int keepdims = 0; keepdims < 2; keepdims++) {
        g = net_create();
        check(g, net_reduce(g, net_input(g, s), REDUCE_SUM, 2 | 16 | 128, keepdims), 2);
    }
    g = net_create();
    int x = net_input(g, s), y = net_input(g, SHAPE(-1, 1, 4, 3, 1, 2, 1, 1));
    check(g, net_binary(g, BINARY_MUL, x, y), 2);
    g = net_create();
    x = net_input(g, s);
    check(g, net_concat(g, 4, 2, (int[]){x, net_activation(g, x, ACTIVATION_SILU, 0, 0, 0)}), 2);
    g = net_create();
    static const int before[] = {0, 1, 0, 0, 2, 0, 1, 0}, after[] = {0, 0, 1, 0, 0, 0, 0, 1};
    check(g, net_pad(g, net_input(g, s), before, after), 2);
}

/* ---- together ---- */

/* Weights of two places: the gradients are added, two parameters at a time. */
static void shared_weights(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 4, 6));
    int a = net_layer_norm(g, x, 4, true, true);
    int b = net_scale(g, net_activation(g, a, ACTIVATION_GELU, 0, 0, 0), true, true);
    int c = net_prelu(g, net_again(g, a, b), SHAPE(1, 6));
    c = net_again(g, c, net_again(g, b, net_again(g, a, c)));
    check(g, net_binary(g, BINARY_MUL, c, x), 3);
}

/* Images: convolution, layer norm over channels, activation, factor, sum; then a clamping activation and a
 * convolution after each of the operations, that an engine may fuse. */
static void around_convolutions(void **state) {
    (void)state;
    const struct window_options same = {.same = true};
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 6, 6, 8));
    int y = net_layer_norm(g, net_depthwise(g, x, 3, 3, 1, same), 8, true, true);
    y = net_activation(g, net_conv(g, y, 1, 1, 16, same), ACTIVATION_GELU, 0, 0, 0);
    check(g, net_binary(g, BINARY_ADD, x, net_scale(g, net_conv(g, y, 1, 1, 8, same), true, false)), 2);
    g = net_create();
    y = net_dense(g, net_dense(g, net_input(g, SHAPE(-1, 6, 8)), 16, true), 8, false);
    check(g, net_relu(g, net_scale(g, y, true, true)), 2);
    g = net_create();
    y = net_scale(g,
                  net_batch_norm(g, net_conv(g, net_input(g, SHAPE(-1, 5, 5, 3)), 3, 3, 8, same), true, true),
                  false, true);
    check(g, net_relu(g, net_scale(g, y, true, false)), 2);
    for (int i = 0; i < 6; i++) {
        g = net_create();
        x = net_conv(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 3, 8, same);
        y = i == 0   ? net_layer_norm(g, x, 8, true, true)
            : i == 1 ? net_scale(g, x, true, true)
            : i == 2 ? net_prelu(g, x, SHAPE(1, 1, 8))
            : i == 3 ? net_transpose(g, x, (int[]){0, 2, 1, 3})
            : i == 4 ? net_slice(g, x, (int[]){0, 5, 0, 1}, (int[]){1, -1, 2, 1}, (int[]){0, 6, 3, 6})
                     : net_matmul(g, x, x, true, false, 1);
        check(g, net_conv(g, net_relu(g, y), 3, 3, 4, same), 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norm),
        cmocka_unit_test(layer_norm_offset),
        cmocka_unit_test(layer_norm_outlier),
        cmocka_unit_test(scale),
        cmocka_unit_test(prelu),
        cmocka_unit_test(batch_norm_fixed),
        cmocka_unit_test(batch_norm_fixed_stays),
        cmocka_unit_test(divide),
        cmocka_unit_test(not_equal),
        cmocka_unit_test(eight_axes),
        cmocka_unit_test(shared_weights),
        cmocka_unit_test(around_convolutions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

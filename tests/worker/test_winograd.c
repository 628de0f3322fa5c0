/* Winograd's algorithm against the definition of a convolution and its gradients in double precision. */
#include "worker/engines/onednn/winograd.h"

#include "worker/engine_check.h"
#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct conv_shape shape_with(int side, int64_t n, int64_t height, int64_t width, int64_t channels,
                                    int64_t filters, int before, int after) {
    struct conv_shape s = {
        .n = n, .in = {height, width}, .channels = channels, .filters = filters, .groups = 1};
    s.window = (struct window){.size = {side, side},
                               .stride = {1, 1},
                               .dilation = {1, 1},
                               .before = {before, before},
                               .after = {after, after}};
    window_output(&s.window, s.in, s.out);
    return s;
}

static struct conv_shape shape_of(int64_t n, int64_t height, int64_t width, int64_t channels, int64_t filters,
                                  int before, int after) {
    return shape_with(3, n, height, width, channels, filters, before, after);
}

struct arrays {
    float *x, *kernel, *bias, *addend, *dy;
    double *y, *dx, *gradient;
};

/* Calls `body` for every product x[xi]*kernel[ki] that is part of y[yi]. */
#define FOR_PRODUCTS(s, body)                                                                                \
    for (int64_t n = 0; n < (s)->n; n++)                                                                     \
        for (int64_t r = 0; r < (s)->out[0]; r++)                                                            \
            for (int64_t q = 0; q < (s)->out[1]; q++)                                                        \
                for (int k = 0; k < (s)->window.size[0] * (s)->window.size[0]; k++) {                        \
                    const int side = (s)->window.size[0];                                                    \
                    int64_t i = r + k / side - (s)->window.before[0],                                        \
                            j = q + k % side - (s)->window.before[1];                                        \
                    if (i < 0 || i >= (s)->in[0] || j < 0 || j >= (s)->in[1]) continue;                      \
                    for (int64_t c = 0; c < (s)->channels; c++)                                              \
                        for (int64_t f = 0; f < (s)->filters; f++) {                                         \
                            int64_t xi = ((n * (s)->in[0] + i) * (s)->in[1] + j) * (s)->channels + c;        \
                            int64_t yi = ((n * (s)->out[0] + r) * (s)->out[1] + q) * (s)->filters + f;       \
                            int64_t ki = (k * (s)->channels + c) * (s)->filters + f;                         \
                            body;                                                                            \
                        }                                                                                    \
                }

static void check(struct conv_shape s, int threads) {
    const int64_t nx = s.n * s.in[0] * s.in[1] * s.channels, ny = s.n * s.out[0] * s.out[1] * s.filters;
    const int64_t nk = s.window.size[0] * s.window.size[0] * s.channels * s.filters;
    struct arrays a = {random_floats(nx, 1),
                       random_floats(nk, 2),
                       random_floats(s.filters, 3),
                       random_floats(ny, 4),
                       random_floats(ny, 5),
                       calloc((size_t)ny, sizeof(double)),
                       calloc((size_t)nx, sizeof(double)),
                       calloc((size_t)nk, sizeof(double))};
    FOR_PRODUCTS(&s, {
        a.y[yi] += (double)a.x[xi] * (double)a.kernel[ki];
        a.dx[xi] += (double)a.dy[yi] * (double)a.kernel[ki];
        a.gradient[ki] += (double)a.dy[yi] * (double)a.x[xi];
    })
    for (int64_t i = 0; i < ny; i++) {
        a.y[i] += (double)a.bias[i % s.filters] + (double)a.addend[i];
        if (a.y[i] < 0) a.y[i] = 0;
        if (a.y[i] > 6) a.y[i] = 6;
    }

    const struct clamp relu6 = {.on = true, .max = 6};
    struct winograd w, t;
    assert_true(winograd_make(&s, false, threads, &w));
    assert_true(winograd_make(&s, true, threads, &t));
    size_t scratch_count = winograd_gradient_scratch(&w);
    if (winograd_scratch(&w) > scratch_count) scratch_count = winograd_scratch(&w);
    if (winograd_scratch(&t) > scratch_count) scratch_count = winograd_scratch(&t);
    float *scratch = malloc(scratch_count * sizeof *scratch);
    float *weights = malloc(winograd_weights(&w) * sizeof *weights);
    float *out = malloc((size_t)(nx + ny + nk) * sizeof *out);
    for (size_t i = 0; i < scratch_count; i++) scratch[i] = NAN; /* nothing is expected there */

    winograd_pack(&w, a.kernel, scratch, weights);
    winograd_run(&w, a.x, weights, a.bias, a.addend, &relu6, scratch, out);
    assert_close_double("the output", out, a.y, ny, 8e-5); /* of 6; before the clamp it reaches 40 and more */
    winograd_pack(&t, a.kernel, scratch, weights);
    winograd_run(&t, a.dy, weights, NULL, NULL, &CLAMP_NONE, scratch, out);
    assert_close_double("the input's gradient", out, a.dx, nx, 1e-5);
    winograd_gradient(&w, a.x, a.dy, scratch, out);
    assert_close_double("the kernel's gradient", out, a.gradient, nk, s.window.size[0] == 3 ? 1e-5 : 3e-5);

    free(scratch);
    free(weights);
    free(out);
    free(a.x), free(a.kernel), free(a.bias), free(a.addend), free(a.dy), free(a.y), free(a.dx),
        free(a.gradient);
}

static void shapes(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        check(shape_of(16, 4, 4, 16, 16, 1, 1), threads);
        check(shape_of(5, 7, 7, 32, 48, 1, 1), threads);
        check(shape_of(3, 14, 14, 16, 32, 1, 1), threads);
        check(shape_of(2, 9, 13, 48, 16, 0, 0), threads);
        check(shape_of(2, 10, 12, 16, 80, 2, 2), threads);
        check(shape_of(4, 8, 8, 16, 16, 0, 2), threads);
    }
    check(shape_of(1, 40, 44, 16, 16, 1, 1), 2); /* several blocks a thread */
    for (int threads = 1; threads <= 3; threads++) {
        check(shape_with(5, 6, 6, 6, 16, 32, 2, 2), threads);
        check(shape_with(5, 2, 9, 11, 32, 16, 2, 2), threads);
        check(shape_with(5, 3, 20, 18, 48, 16, 0, 0), threads);
        check(shape_with(5, 4, 8, 8, 16, 16, 1, 3), threads);
        check(shape_with(5, 2, 16, 16, 16, 80, 4, 4), threads);
    }
}

/* A thread without a tile leaves nothing behind in the sums. */
static void idle_thread(void **state) {
    (void)state;
    check(shape_of(5, 4, 4, 16, 16, 1, 1), 1);
    struct conv_shape s = shape_of(13, 4, 4, 16, 16, 1, 1);
    struct winograd w;
    for (int threads = 1; threads <= 3; threads++)
        if (winograd_make(&s, false, threads, &w)) check(s, threads);
}

/* Left to the ordinary algorithm. */
static void not_suited(void **state) {
    (void)state;
    struct winograd w;
    struct conv_shape s = shape_of(16, 8, 8, 16, 16, 1, 1);
    assert_true(winograd_make(&s, false, 1, &w));
    s.window.stride[0] = 2;
    assert_false(winograd_make(&s, false, 1, &w));
    s = shape_of(16, 8, 8, 16, 16, 1, 1);
    s.window.dilation[1] = 2;
    assert_false(winograd_make(&s, false, 1, &w));
    s = shape_with(7, 16, 8, 8, 16, 16, 3, 3);
    assert_false(winograd_make(&s, false, 1, &w));
    s = shape_of(16, 8, 8, 16, 16, 1, 1);
    s.window.size[1] = 5;
    assert_false(winograd_make(&s, false, 1, &w));
    s = shape_of(16, 8, 8, 16, 24, 1, 1);
    assert_false(winograd_make(&s, false, 1, &w));
    s = shape_of(1, 4, 4, 16, 16, 1, 1); /* one tile */
    assert_false(winograd_make(&s, false, 1, &w));
    s = shape_of(16, 5, 5, 16, 16, 1, 1); /* mostly overhang */
    assert_false(winograd_make(&s, false, 1, &w));
}

/* In the engine: batch norm folded, a residual added, its gradient added to another, padding of an operation
 * of its own. */
static void in_networks(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    const struct window_options same = {.same = true, .no_bias = true};
    int x = net_relu(
        g, net_conv(g, net_input(g, SHAPE(-1, 8, 8, 16)), 3, 3, 16, (struct window_options){.same = true}));
    int y = net_relu(g, net_batch_norm(g, net_conv(g, x, 3, 3, 32, same), true, true));
    y = net_pad(g, y, (int[]){0, 1, 1, 0}, (int[]){0, 1, 1, 0});
    y = net_batch_norm(g, net_conv(g, y, 3, 3, 16, (struct window_options){.no_bias = true}), true, true);
    y = net_relu(g, net_binary(g, BINARY_ADD, y, x));
    y = net_relu(g, net_conv(g, y, 5, 5, 16, same));
    y = net_activation(g, net_conv(g, y, 3, 3, 16, same), ACTIVATION_TANH, 0, 0, 0);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 4, 7);
    trial_check(t);
    trial_destroy(t);
}

/* What oneDNN's fused ReLU would hide. */
static void diverged_weights(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int y = net_relu(
        g, net_conv(g, net_input(g, SHAPE(-1, 8, 8, 3)), 3, 3, 8, (struct window_options){.same = true}));
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 2, 7);
    const struct engine *engine;
    must(engine_find("onednn", &engine));
    struct exec_options options = {.batch = 2, .mode = EXEC_TRAIN, .threads = 1};
    struct exec *exec = exec_must(engine, t->graph, &options);
    must(exec_set_params(exec, t->params));
    must(exec_forward(exec, trial_inputs(t)));
    params_at(t->params, 0)[5] = NAN;
    status error = exec_forward(exec, trial_inputs(t));
    assert_int_equal(status_code(error), STATUS_DATA);
    assert_non_null(strstr(status_message(error), "not finite"));
    status_drop(&error);
    exec_destroy(&exec);
    trial_destroy(t);
}

int main(void) {
    if (!winograd_built()) {
        print_message("not compiled for this processor: skipped\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),      cmocka_unit_test(idle_thread),      cmocka_unit_test(not_suited),
        cmocka_unit_test(in_networks), cmocka_unit_test(diverged_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

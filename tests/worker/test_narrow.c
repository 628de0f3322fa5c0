/* Convolutions with few filters against the definition in double precision. */
#include "worker/engines/onednn/narrow.h"

#include "worker/engine_check.h"
#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct conv_shape shape_of(int64_t n, int64_t height, int64_t width, int64_t channels, int64_t filters,
                                  struct window window) {
    struct conv_shape s = {.n = n,
                           .in = {height, width},
                           .channels = channels,
                           .filters = filters,
                           .groups = 1,
                           .window = window};
    window_output(&s.window, s.in, s.out);
    return s;
}

static struct window square(int side, int stride, int dilation, int before, int after) {
    return (struct window){.size = {side, side},
                           .stride = {stride, stride},
                           .dilation = {dilation, dilation},
                           .before = {before, before},
                           .after = {after, after}};
}

/* Output (n, r, q, f) before the bias. */
static double definition(const struct conv_shape *s, const float *x, const float *kernel, int64_t n,
                         int64_t r, int64_t q, int64_t f) {
    const struct window *w = &s->window;
    double sum = 0;
    for (int i = 0; i < w->size[0]; i++)
        for (int j = 0; j < w->size[1]; j++) {
            const int64_t row = r * w->stride[0] + i * w->dilation[0] - w->before[0],
                          column = q * w->stride[1] + j * w->dilation[1] - w->before[1];
            if (row < 0 || row >= s->in[0] || column < 0 || column >= s->in[1]) continue;
            for (int64_t c = 0; c < s->channels; c++)
                sum += (double)x[((n * s->in[0] + row) * s->in[1] + column) * s->channels + c] *
                       (double)kernel[((i * w->size[1] + j) * s->channels + c) * s->filters + f];
        }
    return sum;
}

/* With bias, a sum of branches and ReLU6; and with neither. */
static void check(struct conv_shape s, int threads) {
    const int64_t nx = s.n * s.in[0] * s.in[1] * s.channels, ny = s.n * s.out[0] * s.out[1] * s.filters;
    float *x = random_floats(nx, 1), *addend = random_floats(ny, 4), *bias = random_floats(s.filters, 3);
    float *kernel = random_floats((int64_t)s.window.size[0] * s.window.size[1] * s.channels * s.filters, 2);
    double *plain = calloc((size_t)ny, sizeof *plain), *finished = calloc((size_t)ny, sizeof *finished);
    float *y = calloc((size_t)ny + 1, sizeof *y);
    for (int64_t i = 0; i < ny; i++) {
        const int64_t pixel = i / s.filters, row = pixel / s.out[1];
        plain[i] = definition(&s, x, kernel, row / s.out[0], row % s.out[0], pixel % s.out[1], i % s.filters);
        finished[i] = fmin(fmax(plain[i] + (double)bias[i % s.filters] + (double)addend[i], 0), 6);
    }

    struct narrow w;
    assert_true(narrow_make(&s, threads, &w));
    float *weights = malloc(narrow_weights(&w) * sizeof *weights);
    const struct clamp relu6 = {.on = true, .max = 6};
    y[ny] = -7; /* not to be touched */
    narrow_pack(&w, kernel, bias, weights);
    narrow_run(&w, x, weights, addend, &relu6, y);
    assert_close_double("finished", y, finished, ny, 2e-5); /* of 6; before the clamp it reaches 50 */
    narrow_pack(&w, kernel, NULL, weights);
    narrow_run(&w, x, weights, NULL, &CLAMP_NONE, y);
    assert_close_double("plain", y, plain, ny, 2e-6);
    assert_true(y[ny] == -7);
    free(weights);
    free(x), free(addend), free(bias), free(kernel), free(plain), free(finished), free(y);
}

static void filters(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++)
        for (int m = 1; m <= VEC / 2; m++) {
            check(shape_of(2, 9, 21, 16, m, square(3, 1, 1, 1, 1)), threads);
            check(shape_of(1, 8, 8, 64, m, square(1, 1, 1, 0, 0)), threads);
        }
}

static void channels(void **state) {
    (void)state;
    for (int c = 8; c <= 40; c += 2)
        for (int m = 1; m <= VEC / 2; m *= 2) check(shape_of(1, 5, 19, c, m, square(3, 1, 1, 1, 1)), 1);
}

static void windows(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        check(shape_of(3, 4, 4, 32, 3, square(3, 1, 1, 1, 1)), threads); /* every window meets an edge */
        check(shape_of(5, 1, 1, 64, 2, square(1, 1, 1, 0, 0)), threads);
        check(shape_of(2, 7, 40, 16, 4, square(3, 1, 1, 0, 0)), threads);  /* none does */
        check(shape_of(2, 20, 41, 16, 4, square(3, 2, 1, 0, 1)), threads); /* stride */
        check(shape_of(2, 20, 41, 16, 4, square(1, 2, 1, 0, 0)), threads);
        check(shape_of(1, 1, 1, 64, 4, square(1, 2, 1, 1, 0)), threads);   /* only padding */
        check(shape_of(2, 20, 41, 16, 4, square(3, 1, 3, 3, 3)), threads); /* dilation */
        check(shape_of(1, 30, 30, 8, 2, square(5, 1, 1, 4, 4)), threads);
        struct window uneven = square(2, 1, 1, 0, 0);
        uneven.size[1] = 5, uneven.before[1] = 3, uneven.after[0] = 2, uneven.stride[0] = 2;
        uneven.dilation[0] = 2;
        check(shape_of(2, 13, 37, 24, 3, uneven), threads);
    }
}

/* The same bytes for a sample on its own as in a batch. */
static void batches(void **state) {
    (void)state;
    const struct conv_shape all = shape_of(7, 5, 5, 24, 3, square(3, 1, 1, 1, 1));
    struct conv_shape one = all;
    one.n = 1;
    const int64_t nx = 5 * 5 * 24, ny = 5 * 5 * 3;
    float *x = random_floats(7 * nx, 1), *kernel = random_floats(9 * 24 * 3, 2);
    float whole[7 * 75], alone[75];
    struct narrow w, v;
    assert_true(narrow_make(&all, 2, &w) && narrow_make(&one, 1, &v));
    float *weights = malloc(narrow_weights(&w) * sizeof *weights);
    narrow_pack(&w, kernel, NULL, weights);
    narrow_run(&w, x, weights, NULL, &CLAMP_NONE, whole);
    for (int i = 0; i < 7; i++) {
        narrow_run(&v, x + i * nx, weights, NULL, &CLAMP_NONE, alone);
        assert_memory_equal(alone, whole + i * ny, sizeof alone);
    }
    free(weights), free(x), free(kernel);
}

static void not_suited(void **state) {
    (void)state;
    struct narrow w;
    struct conv_shape s = shape_of(1, 8, 8, 16, 4, square(3, 1, 1, 1, 1));
    assert_true(narrow_make(&s, 1, &w));
    s.filters = VEC / 2 + 1;
    assert_false(narrow_make(&s, 1, &w));
    s.filters = 4, s.groups = 2;
    assert_false(narrow_make(&s, 1, &w));
    s.groups = 1, s.channels = 15;
    assert_false(narrow_make(&s, 1, &w));
    s = shape_of(1, 8, 8, 4, 4, square(1, 1, 1, 0, 0)); /* too little to do */
    assert_false(narrow_make(&s, 1, &w));
}

/* In the engine: batch norm folded, a sum of branches, activations that it cannot do itself. */
static void in_networks(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    const struct window_options same = {.same = true}, bare = {.same = true, .no_bias = true};
    int x = net_input(g, SHAPE(-1, 9, 9, 16));
    int y = net_relu(g, net_batch_norm(g, net_conv(g, x, 3, 3, 8, bare), true, true));
    int z = net_conv(g, x, 3, 3, 8, bare);
    y = net_relu(g, net_binary(g, BINARY_ADD, z, y));
    y = net_activation(g, net_conv(g, y, 3, 3, 3, same), ACTIVATION_TANH, 0, 0, 0);
    z = net_softmax(g, net_conv(g, x, 1, 1, 4, same), 3);
    int outputs[] = {y, z};
    net_finish(g, 2, outputs);
    struct trial *t = trial_create(g, 3, 7);
    trial_check(t);
    trial_destroy(t);
}

int main(void) {
    if (!narrow_built()) {
        print_message("not compiled for this processor: skipped\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters), cmocka_unit_test(channels),   cmocka_unit_test(windows),
        cmocka_unit_test(batches), cmocka_unit_test(not_suited), cmocka_unit_test(in_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

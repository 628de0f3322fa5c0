/* Transposed convolutions on every engine: forward against the definition in double precision, gradients
 * against central differences of that. */
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
    struct trial *t = trial_create(g, batch, 7);
    trial_check(t);
    trial_destroy(t);
}

/* As Keras has it, for one axis: the output's length by the padding rule. */
static int64_t keras_length(int64_t in, int size, int stride, bool same) {
    return same ? in * stride : in * stride + (size > stride ? size - stride : 0);
}

static void check_keras(struct shape in, int height, int width, int filters, struct window_options o) {
    const int stride[2] = {o.stride[0] ? o.stride[0] : 1, o.stride[1] ? o.stride[1] : 1};
    const int64_t out[2] = {keras_length(in.dim[1], height, stride[0], o.same),
                            keras_length(in.dim[2], width, stride[1], o.same)};
    struct opgraph *g = net_create();
    check(g, net_conv_transpose(g, net_input(g, in), height, width, filters, out, o), 2);
}

static void keras(void **state) {
    (void)state;
    struct shape s = SHAPE(-1, 5, 4, 3);
    for (int same = 0; same < 2; same++) {
        check_keras(s, 3, 3, 4, (struct window_options){.same = same});
        check_keras(s, 3, 3, 4, (struct window_options){.same = same, .stride = {2, 2}});
        check_keras(s, 2, 2, 5, (struct window_options){.same = same, .stride = {2, 2}, .no_bias = true});
        check_keras(s, 4, 4, 2, (struct window_options){.same = same, .stride = {2, 2}});
        check_keras(s, 5, 5, 1, (struct window_options){.same = same, .stride = {2, 3}});
        check_keras(s, 3, 2, 4, (struct window_options){.same = same, .stride = {1, 2}});
        check_keras(s, 1, 1, 4, (struct window_options){.same = same});
        check_keras(s, 2, 2, 4, (struct window_options){.same = same, .stride = {3, 3}}); /* gaps */
        check_keras(s, 1, 2, 4, (struct window_options){.same = same, .stride = {4, 3}});
    }
    check_keras(SHAPE(-1, 4, 4, 16), 4, 4, 32, (struct window_options){.same = true, .stride = {2, 2}});
    check_keras(SHAPE(-1, 8, 8, 32), 3, 3, 16, (struct window_options){.same = true, .stride = {2, 2}});
    check_keras(SHAPE(-1, 9, 1, 3), 4, 1, 5, (struct window_options){.same = true, .stride = {2, 1}});
    check_keras(SHAPE(-1, 1, 1, 8), 7, 7, 3, (struct window_options){0});
}

static void check_to(struct shape in, int height, int width, int filters, int64_t h, int64_t w,
                     struct window_options o) {
    struct opgraph *g = net_create();
    const int64_t out[2] = {h, w};
    check(g, net_conv_transpose(g, net_input(g, in), height, width, filters, out, o), 2);
}

/* Any padding, output padding and dilation: rows of the output that no window covers, windows that hang over,
 * and paddings larger than the kernel. */
static void any_window(void **state) {
    (void)state;
    struct shape s = SHAPE(-1, 4, 3, 2);
    check_to(s, 3, 3, 3, 8, 6, (struct window_options){.stride = {2, 2}, .before = {1, 1}, .after = {0, 0}});
    check_to(s, 3, 3, 3, 8, 6, (struct window_options){.stride = {2, 2}, .before = {0, 1}, .after = {1, 0}});
    check_to(s, 3, 3, 3, 9, 7, (struct window_options){.stride = {2, 2}, .after = {0, 1}}); /* one more */
    check_to(s, 2, 2, 3, 13, 9, (struct window_options){.stride = {3, 3}, .before = {0, 0}, .after = {0, 1}});
    check_to(s, 3, 2, 3, 8, 5, (struct window_options){.dilation = {2, 2}});
    check_to(s, 3, 3, 3, 8, 7, (struct window_options){.dilation = {2, 2}, .stride = {1, 1}});
    check_to(s, 3, 3, 3, 4, 3, (struct window_options){.dilation = {2, 2}, .same = true});
    check_to(s, 2, 3, 3, 5, 5, (struct window_options){.dilation = {3, 1}, .before = {2, 0}});
    check_to(s, 2, 2, 3, 1, 1, (struct window_options){.before = {2, 1}, .after = {2, 2}});
    check_to(SHAPE(-1, 6, 6, 2), 2, 2, 2, 3, 3, (struct window_options){.before = {2, 2}, .after = {2, 2}});
}

/* Enough to be cut into bands and pieces. */
static void large(void **state) {
    (void)state;
    check_to(SHAPE(-1, 100, 1, 1), 3, 1, 600, 102, 1, (struct window_options){0});
    check_to(SHAPE(-1, 100, 1, 1), 3, 1, 600, 200, 1,
             (struct window_options){.stride = {2, 1}, .same = true});
}

static int decoder(struct opgraph *g, int x) {
    x = net_relu(g, net_conv_transpose(g, x, 3, 3, 8, (int64_t[]){8, 8},
                                       (struct window_options){.stride = {2, 2}, .same = true}));
    x = net_batch_norm(
        g,
        net_conv_transpose(g, x, 4, 4, 6, (int64_t[]){16, 16},
                           (struct window_options){.stride = {2, 2}, .same = true, .no_bias = true}),
        true, true);
    x = net_activation(g, x, ACTIVATION_RELU, 0.2f, INFINITY, 0);
    x = net_conv_transpose(g, x, 3, 3, 6, (int64_t[]){16, 16}, (struct window_options){.same = true});
    return net_activation(g, net_binary(g, BINARY_ADD, x, net_again(g, x, x)), ACTIVATION_TANH, 0, 0, 0);
}

/* With what engines fuse, and the same weights twice. */
static void networks(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    check(g, decoder(g, net_input(g, SHAPE(-1, 4, 4, 5))), 3);
    g = net_create();
    int x = net_input(g, SHAPE(-1, 4, 4, 5));
    x = net_pad(g, x, (int[]){0, 1, 0, 0}, (int[]){0, 0, 1, 0}); /* not part of the window's padding */
    check(g,
          net_relu(g, net_conv_transpose(g, x, 2, 2, 4, (int64_t[]){10, 10},
                                         (struct window_options){.stride = {2, 2}})),
          2);
}

static void place_in_batch(void **state) {
    (void)state;
    enum { BATCH = 7 };
    struct opgraph *g = net_create();
    int y = decoder(g, net_input(g, SHAPE(-1, 4, 4, 5)));
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, BATCH, 8);
    const int64_t n = net_count(g, g->input[0], 1), m = net_count(g, y, 1);
    for (int s = 1; s < BATCH; s++) memcpy(t->input[0] + s * n, t->input[0], (size_t)n * sizeof(float));
    for (int e = 0; e < engine_count(); e++)
        for (int threads = 1; threads <= 3; threads++) {
            struct exec_options options = {.batch = BATCH, .mode = EXEC_INFER, .threads = threads};
            struct exec *exec = exec_must(engine_at(e), g, &options);
            must(exec_set_params(exec, t->params));
            must(exec_forward(exec, trial_inputs(t)));
            const float *out = exec_output(exec, 0);
            for (int s = 1; s < BATCH; s++) assert_memory_equal(out, out + s * m, (size_t)m * sizeof *out);
            exec_destroy(&exec);
        }
    trial_destroy(t);
}

static void mismatches(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++)
        for (int what = 0; what < 4; what++) {
            struct opgraph *g = net_create();
            int y = net_conv_transpose(g, net_input(g, SHAPE(-1, 4, 4, 5)), 2, 2, 4, (int64_t[]){8, 8},
                                       (struct window_options){.stride = {2, 2}});
            net_finish(g, 1, &y);
            if (what == 0) g->param[0].shape.dim[2] = 5;
            if (what == 1) g->value[y].dim[1] = 10;
            if (what == 2) g->param[1].shape.dim[0] = 5;
            if (what == 3) g->op[0].u.conv.groups = 2;
            struct exec *exec = NULL;
            status error = engine_at(e)->compile(
                g, &(struct exec_options){.batch = 2, .mode = EXEC_INFER, .threads = 1}, &exec);
            assert_int_equal(status_code(error), STATUS_INTERNAL);
            status_drop(&error);
            assert_null(exec);
            opgraph_destroy(&g);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keras),    cmocka_unit_test(any_window),     cmocka_unit_test(large),
        cmocka_unit_test(networks), cmocka_unit_test(place_in_batch), cmocka_unit_test(mismatches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* libgodwit against what Keras computed of the same models: ../shared/models/keras3, if it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/golden.h"
#include "library_testing.h"

#define ENDS_MAX 8

static void compare(const char *name) {
    char path[512], values[512];
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct golden *golden = NULL;
    godwit_shape in[ENDS_MAX], out[ENDS_MAX];
    const float *x[ENDS_MAX];
    float *y[ENDS_MAX];
    snprintf(path, sizeof path, GODWIT_SHARED_DIR "/models/keras3/%s.h5", name);
    snprintf(values, sizeof values, GODWIT_SHARED_DIR "/models/keras3/%s.golden.h5", name);
    if (access(path, R_OK) || access(values, R_OK)) {
        print_message("[   SKIP   ] %s is absent\n", path);
        return;
    }
    build_ok(keras_open(path, NULL, &file, &graph));
    build_ok(golden_read(values, graph, &golden));
    keras_close(&file);
    godwit_options options = GODWIT_OPTIONS;
    for (int threads = 1; threads <= 2; threads++) {
        options.threads = threads;
        godwit_model *model = opened(path, &options);
        assert_int_equal(godwit_input_count(model), golden->ninputs);
        assert_int_equal(godwit_output_count(model), golden->noutputs);
        for (int i = 0; i < golden->ninputs; i++) {
            const struct shape *shape = &golden->x[i]->shape;
            in[i].rank = shape->rank - 1;
            memcpy(in[i].dim, shape->dim + 1, sizeof *shape->dim * (size_t)in[i].rank);
            x[i] = tensor_f32(golden->x[i]);
        }
        WORKS(godwit_output_shapes(model, in, out, &error));
        for (int i = 0; i < golden->noutputs; i++) {
            assert_int_equal(godwit_shape_count(&out[i]) * golden->samples, golden->y[i]->count);
            y[i] = malloc((size_t)golden->y[i]->count * sizeof **y);
            assert_non_null(y[i]);
        }
        WORKS(godwit_run_shapes(model, golden->samples, in, x, y, &error));
        for (int i = 0; i < golden->noutputs; i++) {
            double largest = 0, difference = 0;
            for (int64_t k = 0; k < golden->y[i]->count; k++) {
                double expected = tensor_f32(golden->y[i])[k];
                largest = fmax(largest, fabs(expected));
                difference = fmax(difference, fabs(expected - y[i][k]));
            }
            print_message("%s, %s: max|d| %.2e, max|y| %.3g\n", name, godwit_output_name(model, i),
                          difference, largest);
            assert_true(largest > 0 && difference <= 1e-4 * largest);
            free(y[i]);
        }
        godwit_close(model);
    }
    golden_destroy(&golden);
    graph_destroy(&graph);
}

static void keras_outputs(void **state) {
    (void)state;
    static const char *const models[] = {"graph_mix", "lstm_text", "mobilenet_v2", "seq_cnn", "transformer"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) compare(models[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keras_outputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Models that Keras wrote, with inputs and the outputs that Keras 3 or TensorFlow.js computed for them: every
 * engine must give the same. */
#include "io/keras.h"
#include "worker/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOLERANCE 1e-4 /* of the largest output */

struct golden {
    const char *model, *values; /* below ../shared/models */
};

static void assert_success(status error) {
    if (error) fail_msg("%s", status_message(error));
}

static char *shared(const char *name) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/models/%s", GODWIT_SHARED_DIR, name) > 0);
    return path;
}

/* A float32 dataset; owned. */
static float *read_values(const char *path, const char *name, hsize_t *dims, int *rank) {
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset);
    *rank = H5Sget_simple_extent_dims(space, dims, NULL);
    float *values = malloc((size_t)H5Sget_simple_extent_npoints(space) * sizeof *values);
    assert_true(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    return values;
}

static void compare(const struct engine *engine, const struct opgraph *ops, struct params *params,
                    const float *x, const float *y, int64_t batch, int64_t ny, const char *name) {
    struct exec *exec = NULL;
    struct exec_options options = {.batch = batch, .mode = EXEC_INFER, .threads = 1};
    assert_success(engine->compile(ops, &options, &exec));
    assert_success(exec_set_params(exec, params));
    assert_success(exec_forward(exec, &x));
    const float *out = exec_output(exec, 0);
    double largest = 0, difference = 0;
    for (int64_t i = 0; i < ny; i++) {
        if (fabs((double)y[i]) > largest) largest = fabs((double)y[i]);
        double d = fabs((double)out[i] - (double)y[i]);
        if (!(d <= difference)) difference = d; /* NaN counts */
    }
    print_message("%s, %s: max|d| %.2e, max|y| %.3g, ratio %.1e\n", name, engine->name, difference, largest,
                  difference / largest);
    assert_true(difference <= TOLERANCE * largest);
    exec_destroy(&exec);
}

static void golden_values(void **state) {
    const struct golden *golden = *state;
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    hsize_t xdims[H5S_MAX_RANK], ydims[H5S_MAX_RANK];
    int xrank, yrank;
    char *model = shared(golden->model), *values = shared(golden->values);
    if (access(model, R_OK) != 0 || access(values, R_OK) != 0) {
        print_message("[   SKIP   ] %s is absent\n", model);
        free(model);
        free(values);
        skip();
    }
    status error = keras_open(model, NULL, &file, &graph);
    if (status_code(error) == STATUS_UNSUPPORTED) {
        /* Refused with the list of what is missing: that is right as well, but proves no numbers. */
        print_message("[   SKIP   ] %s\n", status_message(error));
        status_drop(&error);
        assert_null(file);
        assert_null(graph);
        free(model);
        free(values);
        skip();
    }
    assert_success(error);
    assert_success(graph_lower(graph, &ops, NULL));
    assert_success(params_create(ops, &params));
    assert_success(keras_read_params(file, params));
    float *x = read_values(values, "x", xdims, &xrank), *y = read_values(values, "y", ydims, &yrank);
    int64_t ny = 1;
    for (int i = 0; i < yrank; i++) ny *= (int64_t)ydims[i];
    assert_int_equal(ops->ninputs, 1);
    assert_int_equal(ops->noutputs, 1);
    assert_int_equal(shape_sample_count(&ops->value[ops->output[0]]) * (int64_t)xdims[0], ny);
    for (int i = 0; i < engine_count(); i++)
        compare(engine_at(i), ops, params, x, y, (int64_t)xdims[0], ny, golden->model);
    free(x);
    free(y);
    free(model);
    free(values);
    params_destroy(&params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    keras_close(&file);
}

#define GOLDEN(title, model, values)                                                                         \
    {                                                                                                        \
        .name = title, .test_func = golden_values, .initial_state = &(struct golden) {                       \
            model, values                                                                                    \
        }                                                                                                    \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        GOLDEN("xception_of_keras2", "fer2013_big_XCEPTION.hdf5", "fer2013_big_XCEPTION.golden.h5"),
        GOLDEN("sequential", "keras3/seq_cnn.h5", "keras3/seq_cnn.golden.h5"),
        GOLDEN("mobilenet_v2", "keras3/mobilenet_v2.h5", "keras3/mobilenet_v2.golden.h5"),
        GOLDEN("graph_mix", "keras3/graph_mix.h5", "keras3/graph_mix.golden.h5"),
        GOLDEN("lstm_text", "keras3/lstm_text.h5", "keras3/lstm_text.golden.h5"),
        GOLDEN("transformer", "keras3/transformer.h5", "keras3/transformer.golden.h5"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The functions of godwit.h one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "library_testing.h"

#include <sys/stat.h>

static char folder[64], means[96], ends[96];

static void describe(void **state) {
    (void)state;
    godwit_shape shape;
    godwit_model *model = opened(ends, NULL);
    assert_int_equal(godwit_input_count(model), 2);
    assert_int_equal(godwit_output_count(model), 2);
    assert_string_equal(godwit_input_name(model, 0), "a");
    assert_string_equal(godwit_input_name(model, 1), "b");
    assert_null(godwit_input_name(model, 2));
    assert_null(godwit_input_name(model, -1));
    assert_string_equal(godwit_output_name(model, 1), "r");
    assert_null(godwit_output_name(model, 2));
    assert_int_equal(godwit_input_shape(model, 1, &shape), GODWIT_OK);
    assert_int_equal(shape.rank, 1);
    assert_int_equal(shape.dim[0], 3);
    assert_int_equal(godwit_shape_count(&shape), 3);
    assert_int_equal(godwit_input_shape(model, 2, &shape), GODWIT_USAGE);
    assert_int_equal(godwit_output_shape(model, 2, &shape), GODWIT_USAGE);
    assert_int_equal(godwit_label_count(model), 0);
    assert_null(godwit_label(model, 0));
    double scale, offset;
    assert_false(godwit_preprocessing(model, &scale, &offset));
    assert_true(scale == 1.0 / 255 && offset == 0);
    godwit_close(model);

    model = opened(means, NULL);
    godwit_input_shape(model, 0, &shape);
    assert_int_equal(shape.rank, 3);
    assert_true(shape.dim[0] == -1 && shape.dim[1] == -1 && shape.dim[2] == 1);
    assert_int_equal(godwit_shape_count(&shape), -1);
    godwit_output_shape(model, 0, &shape);
    assert_true(shape.rank == 1 && shape.dim[0] == 2);
    assert_true(godwit_preprocessing(model, &scale, &offset));
    assert_true(scale == 0.5 && offset == -3);
    assert_int_equal(godwit_label_count(model), 2);
    assert_string_equal(godwit_label(model, 1), "negative");
    assert_null(godwit_label(model, 2));
    godwit_close(model);
    godwit_close(NULL);
    assert_string_equal(godwit_version(), GODWIT_VERSION);
}

static void several_ends(void **state) {
    (void)state;
    enum { N = 21 };
    static float a[N][3], b[N][3], d[N][3], r[N][3];
    const char *engines[] = {NULL, "openblas"};
    for (int i = 0; i < N * 3; i++) {
        (&a[0][0])[i] = (float)(i * 5 % 11 - 4);
        (&b[0][0])[i] = (float)(i * 7 % 11 - 4);
    }
    for (int e = 0; e < 2; e++) {
        godwit_options options = GODWIT_OPTIONS;
        options.engine = engines[e];
        options.batch = 4;
        godwit_model *model = opened(ends, &options);
        const float *x[] = {&a[0][0], &b[0][0]};
        float *y[] = {&d[0][0], &r[0][0]};
        memset(d, 0, sizeof d);
        WORKS(godwit_prepare(model, N, NULL, &error));
        WORKS(godwit_run(model, N, x, y, &error));
        for (int i = 0; i < N * 3; i++) {
            assert_true((&d[0][0])[i] == (&a[0][0])[i] - (&b[0][0])[i]);
            assert_true((&r[0][0])[i] == fmaxf((&a[0][0])[i], 0));
        }
        WORKS(godwit_run(model, 0, x, y, &error));
        REFUSED(godwit_run(model, -1, x, y, &error), GODWIT_USAGE, "-1 samples");
        REFUSED(godwit_run(model, 1, NULL, y, &error), GODWIT_USAGE, "inputs");
        x[1] = NULL;
        REFUSED(godwit_run(model, 1, x, y, &error), GODWIT_USAGE, "an input is NULL");
        REFUSED(godwit_run(NULL, 1, x, y, &error), GODWIT_USAGE, "the model is NULL");
        assert_int_equal(godwit_run(NULL, 1, x, y, NULL), GODWIT_USAGE);
        godwit_close(model);
    }
}

static void unknown_sizes(void **state) {
    (void)state;
    godwit_model *model = opened(means, NULL);
    static float image[2][5][7];
    float mean[2] = {0}, out[2][2];
    const float *x = &image[0][0][0];
    float *y = &out[0][0];
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 35; i++) {
            (&image[s][0][0])[i] = (float)((i + s) * 3 % 8);
            mean[s] += (float)((i + s) * 3 % 8) / 35;
        }
    godwit_shape shape = {3, {5, 7, 1}}, made;
    WORKS(godwit_output_shapes(model, &shape, &made, &error));
    assert_true(made.rank == 1 && made.dim[0] == 2);
    WORKS(godwit_run_shapes(model, 2, &shape, &x, &y, &error));
    for (int s = 0; s < 2; s++) {
        assert_true(fabsf(out[s][0] - (1 + 4 * mean[s])) < 1e-5);
        assert_true(fabsf(out[s][1] - (1 - 4 * mean[s])) < 1e-5);
    }
    REFUSED(godwit_run(model, 1, &x, &y, &error), GODWIT_DATA, "input \"x\" takes (?, ?, ?, 1)");
    shape.dim[2] = 2;
    REFUSED(godwit_run_shapes(model, 1, &shape, &x, &y, &error), GODWIT_DATA, "input \"x\"");
    REFUSED(godwit_output_shapes(model, &shape, &made, &error), GODWIT_DATA, "input \"x\"");
    shape.rank = 9;
    REFUSED(godwit_prepare(model, 1, &shape, &error), GODWIT_USAGE, "rank 9");
    REFUSED(godwit_run_shapes(model, 1, NULL, &x, &y, &error), GODWIT_USAGE, "shapes");
    godwit_close(model);
}

/* pixel * 0.5 - 3; an RGB image that is grey stays what it is. */
static void images(void **state) {
    (void)state;
    godwit_model *model = opened(means, NULL);
    uint8_t grey[4][6], rgb[4][6][3];
    double mean = 0;
    for (int i = 0; i < 24; i++) {
        (&grey[0][0])[i] = (uint8_t)(i * 10);
        for (int c = 0; c < 3; c++) (&rgb[0][0][0])[3 * i + c] = (uint8_t)(i * 10);
        mean += i * 10 / 24.0;
    }
    float y[2], *out = y, input[24];
    WORKS(godwit_run_image(model, 4, 6, 1, &grey[0][0], &out, &error));
    assert_true(fabs(y[0] - (1 + 4 * (mean * 0.5 - 3))) < 1e-3);
    y[0] = 0;
    WORKS(godwit_run_image(model, 4, 6, 3, &rgb[0][0][0], &out, &error));
    assert_true(fabs(y[0] - (1 + 4 * (mean * 0.5 - 3))) < 1e-3);
    godwit_shape shape;
    WORKS(godwit_image_input(model, 4, 6, 1, &grey[0][0], &shape, 0, NULL, &error));
    assert_true(shape.rank == 3 && shape.dim[0] == 4 && shape.dim[1] == 6 && shape.dim[2] == 1);
    WORKS(godwit_image_input(model, 4, 6, 1, &grey[0][0], &shape, 24, input, &error));
    for (int i = 0; i < 24; i++) assert_true(fabsf(input[i] - ((float)i * 5 - 3)) < 1e-4);
    REFUSED(godwit_image_input(model, 4, 6, 1, &grey[0][0], &shape, 23, input, &error), GODWIT_USAGE,
            "24 floats; there is room for 23");
    REFUSED(godwit_run_image(model, 4, 6, 2, &grey[0][0], &out, &error), GODWIT_USAGE, "2 channels");
    REFUSED(godwit_run_image(model, 0, 6, 1, &grey[0][0], &out, &error), GODWIT_USAGE, "0 by 6");
    REFUSED(godwit_run_image(model, 4, 6, 1, NULL, &out, &error), GODWIT_USAGE, "image");
    godwit_close(model);
    model = opened(ends, NULL);
    REFUSED(godwit_run_image(model, 4, 6, 1, &grey[0][0], &out, &error), GODWIT_UNSUPPORTED, "2 inputs");
    godwit_close(model);
}

static void names(void **state) {
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/models", folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/models/small", folder);
    mkdir(path, 0777);
    for (int version = 1; version <= 2; version++) {
        snprintf(path, sizeof path, "%s/models/small/%d", folder, version);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/models/small/%d/model.h5", folder, version);
        write_means(path, (float)version, NULL);
    }
    snprintf(path, sizeof path, "%s/models", folder);
    godwit_options options = GODWIT_OPTIONS;
    options.models = path;
    const char *name[] = {"small", "small:1"};
    for (int i = 0; i < 2; i++) {
        godwit_model *model = opened(name[i], &options);
        const float one = 1, *x = &one;
        float y[2], *out = y;
        WORKS(godwit_run_shapes(model, 1, &(godwit_shape){3, {1, 1, 1}}, &x, &out, &error));
        assert_true(y[0] == (i ? 2 : 3)); /* scale of the version + 1 */
        godwit_close(model);
    }
    godwit_model *none = (godwit_model *)1;
    REFUSED(godwit_open("small:3", &options, &none, &error), GODWIT_IO, "no version 3");
    assert_null(none);
    REFUSED(godwit_open("large", &options, &none, &error), GODWIT_IO, "there are: small");
}

/* Rounded to bfloat16 where the processor gains by that; int8 needs to know what values lie between. */
static void precision(void **state) {
    (void)state;
    enum { N = 5, SIZE = 28 * 28 };
    static float x[N * SIZE], y[2][N * 10];
    const char *precisions[] = {"float32", "bfloat16"};
    const float *in = x;
    for (int i = 0; i < N * SIZE; i++) x[i] = (float)(i * 31 % 256) / 255;
    godwit_options options = GODWIT_OPTIONS;
    for (int i = 0; i < 2; i++) {
        float *out = y[i];
        options.precision = precisions[i];
        godwit_model *model = opened(FASHION, &options);
        WORKS(godwit_run(model, N, &in, &out, &error));
        godwit_close(model);
    }
    for (int i = 0; i < N * 10; i++) assert_true(fabsf(y[0][i] - y[1][i]) < 0.05);
    godwit_model *none = NULL;
    options.precision = "int8";
    REFUSED(godwit_open(FASHION, &options, &none, &error), GODWIT_DATA, "godwit calibrate");
    options.precision = "int3";
    REFUSED(godwit_open(FASHION, &options, &none, &error), GODWIT_USAGE, "precision \"int3\"");
}

static void refusals(void **state) {
    (void)state;
    char path[160];
    godwit_model *none = NULL;
    godwit_options options = GODWIT_OPTIONS;
    REFUSED(godwit_open(NULL, NULL, &none, &error), GODWIT_USAGE, "name");
    REFUSED(godwit_open(means, NULL, NULL, &error), GODWIT_USAGE, "NULL");
    options.engine = "abacus";
    REFUSED(godwit_open(means, &options, &none, &error), GODWIT_USAGE, "abacus");
    options.engine = NULL;
    options.threads = -1;
    REFUSED(godwit_open(means, &options, &none, &error), GODWIT_USAGE, "-1 threads");
    options.threads = 0;
    options.size = 0;
    REFUSED(godwit_open(means, &options, &none, &error), GODWIT_USAGE, "GODWIT_OPTIONS");

    /* A program that was built for a version with more options, and one with fewer. */
    struct {
        godwit_options options;
        int more;
    } newer = {GODWIT_OPTIONS, 0};
    newer.options.size = sizeof newer;
    godwit_close(opened(means, &newer.options));
    newer.more = 1;
    REFUSED(godwit_open(means, &newer.options, &none, &error), GODWIT_USAGE, "newer version");
    options.size = offsetof(godwit_options, threads);
    options.threads = -1;
    godwit_close(opened(means, &options));

    snprintf(path, sizeof path, "%s/damaged.h5", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("\x89HDF\r\n\x1a\n and then nothing", file);
    fclose(file);
    REFUSED(godwit_open(path, NULL, &none, &error), GODWIT_DATA, "damaged.h5");
    /* A message longer than its place is cut. */
    char *name = malloc(3000);
    assert_non_null(name);
    memset(name, 'x', 2999);
    name[2999] = 0;
    godwit_error error;
    assert_int_equal(godwit_open(name, NULL, &none, &error), GODWIT_IO);
    assert_int_equal(strlen(error.message), GODWIT_MESSAGE_MAX - 1);
    free(name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describe),  cmocka_unit_test(several_ends), cmocka_unit_test(unknown_sizes),
        cmocka_unit_test(images),    cmocka_unit_test(names),        cmocka_unit_test(refusals),
        cmocka_unit_test(precision),
    };
    folder_make(folder);
    snprintf(means, sizeof means, "%s/means.h5", folder);
    snprintf(ends, sizeof ends, "%s/ends.h5", folder);
    write_means(means, 4, "{\"scale\": 0.5, \"offset\": -3, \"labels\": [\"positive\", \"negative\"]}");
    write_ends(ends);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove(folder);
    return failed;
}

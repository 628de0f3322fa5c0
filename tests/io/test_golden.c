/* Golden pairs: the ways in which they are stored, what is refused, comparing; inputs of unknown size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/golden.h"
#include "io/golden_report.h"
#include "io/io_testing.h"
#include "io/model.h"

#include <hdf5.h>
#include <math.h>

/* Two inputs, two outputs: "sum" = Dense(a) + b, "mean" of b. */
static struct graph *two_ends(void) {
    struct graph *graph = NULL;
    build_ok(graph_create("ends", &graph));
    int a = build_input(graph, "a", "?,3"), b = build_input(graph, "b", "?,2");
    int d = build_layer(graph, "Dense", "d", "units=2", 1, &a);
    int s = build_layer(graph, "Add", "sum", "", 2, (int[]){d, b});
    int r = build_layer(graph, "ReLU", "positive", "", 1, &b);
    build_ok(graph_add_output(graph, (struct edge){s, 0}));
    build_ok(graph_add_output(graph, (struct edge){r, 0}));
    build_ok(graph_infer(graph));
    return graph;
}

static void put(hid_t file, const char *name, hid_t type, int64_t rows, int64_t columns) {
    double value[64];
    hsize_t dims[2] = {(hsize_t)rows, (hsize_t)columns};
    for (int i = 0; i < rows * columns; i++) value[i] = i - 2;
    hid_t space = H5Screate_simple(columns ? 2 : 1, dims, NULL);
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(file, name, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0);
    H5Dclose(set);
    H5Pclose(links);
    H5Sclose(space);
}

static void check_values(const struct tensor *t, int64_t rows, int64_t columns) {
    assert_int_equal(t->shape.rank, 2);
    assert_int_equal(t->shape.dim[0], rows);
    assert_int_equal(t->shape.dim[1], columns);
    for (int64_t i = 0; i < t->count; i++) assert_true(tensor_f32(t)[i] == (float)(i - 2));
}

static void ways_of_naming(void **state) {
    (void)state;
    static const char *const ways[][4] = {
        {"x0", "x1", "y0", "y1"}, {"x/a", "x/b", "y/sum", "y/positive"}, {"x0", "x/b", "y/sum", "y1"}};
    struct graph *graph = two_ends();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        const char *path = in_folder("g.h5");
        struct golden *golden = NULL;
        hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        put(file, ways[w][0], H5T_STD_I8BE, 5, 3);
        put(file, ways[w][1], H5T_IEEE_F64BE, 5, 2);
        put(file, ways[w][2], H5T_IEEE_F32LE, 5, 2);
        put(file, ways[w][3], H5T_STD_I64LE, 5, 2);
        H5Fclose(file);
        assert_success(golden_read(path, graph, &golden));
        assert_int_equal(golden->samples, 5);
        check_values(golden->x[0], 5, 3);
        check_values(golden->x[1], 5, 2);
        check_values(golden->y[0], 5, 2);
        check_values(golden->y[1], 5, 2);
        golden_destroy(&golden);
    }
    graph_destroy(&graph);
}

static void refused(void **state) {
    (void)state;
    struct graph *graph = two_ends();
    struct golden *golden = NULL;
    const char *path = in_folder("g.h5");
    assert_error(golden_read(in_folder("none.h5"), graph, &golden), STATUS_IO, "none.h5");
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    put(file, "x", H5T_IEEE_F32LE, 5, 3);
    H5Fclose(file);
    assert_error(golden_read(path, graph, &golden), STATUS_DATA, "\"x0\" or \"x/a\" for input 0 of 2");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    put(file, "x0", H5T_IEEE_F32LE, 5, 3);
    put(file, "x1", H5T_IEEE_F32LE, 4, 2);
    H5Fclose(file);
    assert_error(golden_read(path, graph, &golden), STATUS_DATA, "x1 has 4 samples");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "x1", H5P_DEFAULT);
    H5Lcreate_soft("/x", file, "x1", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    assert_error(golden_read(path, graph, &golden), STATUS_DATA, "link to elsewhere");
    assert_null(golden);
    graph_destroy(&graph);
}

static void written_and_read(void **state) {
    (void)state;
    struct graph *graph = two_ends();
    struct golden *golden = NULL, *again = NULL;
    const char *path = in_folder("g.h5");
    assert_success(golden_create(graph, 2, &golden));
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < golden->x[i]->count; k++) {
            tensor_f32(golden->x[i])[k] = (float)(0.1 * (double)k - i);
            if (k < golden->y[i]->count) tensor_f32(golden->y[i])[k] = (float)(1 / (1.0 + (double)k));
        }
    assert_success(golden_write(path, golden, "a test"));
    assert_int_equal(count_entries(test_folder), 1);
    assert_success(golden_read(path, graph, &again));
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(tensor_f32(golden->x[i]), tensor_f32(again->x[i]),
                            (size_t)golden->x[i]->count * sizeof(float));
        assert_memory_equal(tensor_f32(golden->y[i]), tensor_f32(again->y[i]),
                            (size_t)golden->y[i]->count * sizeof(float));
    }
    golden_destroy(&again);
    tensor_f32(golden->x[1])[1] = NAN;
    assert_success(golden_write(path, golden, "a test"));
    assert_error(golden_read(path, graph, &again), STATUS_DATA, "x1: is NaN at element 1");
    golden_destroy(&golden);
    graph_destroy(&graph);
}

static void compared(void **state) {
    (void)state;
    struct tensor *y = NULL, *reference = NULL, *other = NULL;
    struct golden_difference d;
    assert_success(tensor_create(DTYPE_F32, &SHAPE(2, 2), &y));
    assert_success(tensor_create(DTYPE_F32, &SHAPE(2, 2), &reference));
    assert_success(tensor_create(DTYPE_F32, &SHAPE(4), &other));
    assert_success(golden_compare(y, reference, 0, &d));
    assert_true(d.pass && d.difference == 0 && d.ratio == 0);
    tensor_f32(reference)[2] = -8;
    tensor_f32(y)[2] = -8.5f;
    assert_success(golden_compare(y, reference, 0.07, &d));
    assert_true(d.pass && d.difference == 0.5 && d.largest == 8 && d.ratio == 0.0625);
    assert_success(golden_compare(y, reference, 0.06, &d));
    assert_false(d.pass);
    struct golden_report report = {.golden = strdup("g.h5"), .samples = 2, .tolerance = 0.06};
    assert_success(golden_report_add(&report, "fine", "first", &(struct golden_difference){.pass = true}));
    assert_success(golden_report_verdict(&report));
    assert_success(golden_report_add(&report, "engine", "second", &d));
    assert_error(golden_report_verdict(&report), STATUS_DATA, "output \"second\" on engine engine");
    tensor_f32(y)[0] = NAN;
    assert_success(golden_compare(y, reference, 1, &d));
    assert_false(d.pass);
    assert_success(golden_report_add(&report, "engine", "third", &d));
    assert_error(golden_report_verdict(&report), STATUS_DATA, "output \"third\"");
    char *json = NULL;
    assert_success(golden_report_json(&report, "m", &json));
    assert_non_null(strstr(json, "\"max_difference\":\tnull"));
    free(json);
    golden_report_clear(&report);
    assert_error(golden_compare(y, other, 1, &d), STATUS_DATA, "is (2, 2), and the reference (4,)");
    tensor_destroy(&y);
    tensor_destroy(&reference);
    tensor_destroy(&other);
}

/* A fully convolutional net of two images takes the sizes at hand, if they are the same. */
static void inputs_of_unknown_size(void **state) {
    (void)state;
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("any", &graph));
    int a = build_input(graph, "a", "?,?,?,3"), b = build_input(graph, "b", "?,?,?,4");
    int c = build_layer(graph, "Conv2D", "c", "filters=4 kernel_size=3 padding=same strides=2", 1, &a);
    int s = build_layer(graph, "Add", "s", "", 2, (int[]){c, b});
    build_ok(graph_add_output(graph, (struct edge){s, 0}));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    assert_success(model_set_inputs(model, (struct shape[]){SHAPE(7, 9, 12, 3), SHAPE(7, 5, 6, 4)}));
    assert_true(shape_equal(&model->ops->value[model->ops->output[0]], &SHAPE(SHAPE_UNKNOWN, 5, 6, 4)));
    /* once known, a size stays */
    assert_error(model_set_inputs(model, (struct shape[]){SHAPE(1, 8, 12, 3), SHAPE(1, 4, 6, 4)}),
                 STATUS_DATA, "input \"a\" takes (?, 9, 12, 3), not (1, 8, 12, 3)");
    model_destroy(&model);
}

static void inputs_that_do_not_fit(void **state) {
    (void)state;
    static const struct {
        struct shape shape;
        const char *message;
    } cases[] = {{{4, {1, 8, 8, 2}}, "input \"a\" takes (?, ?, ?, 3), not (1, 8, 8, 2)"},
                 {{3, {1, 8, 8}}, "input \"a\" takes (?, ?, ?, 3), not (1, 8, 8)"},
                 {{4, {1, 0, 8, 3}}, "input \"a\" takes"},
                 {{4, {1, 2, 2, 3}}, "\"c\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = NULL;
        struct model *model = NULL;
        build_ok(graph_create("any", &graph));
        int a = build_input(graph, "a", "?,?,?,3");
        int c = build_layer(graph, "Conv2D", "c", "filters=4 kernel_size=3", 1, &a);
        build_ok(graph_add_output(graph, (struct edge){c, 0}));
        build_ok(graph_infer(graph));
        build_ok(model_create(graph, &model));
        assert_error(model_set_inputs(model, &cases[i].shape), STATUS_DATA, cases[i].message);
        model_destroy(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(ways_of_naming),
        IN_FOLDER(refused),
        IN_FOLDER(written_and_read),
        cmocka_unit_test(compared),
        cmocka_unit_test(inputs_of_unknown_size),
        cmocka_unit_test(inputs_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Models that say at what precision they are run: made by migrate and by calibrate, on 1 to 3 ranks to the
 * same bytes; evaluated so; what is wrong with them. */
#include "io/io_testing.h"

#include "coordinator/jobs_testing.h"

#include "graph_build.h"
#include "io/quantization.h"

static struct quantization quantization_of(const char *name) {
    struct model *m = NULL;
    struct quantization q;
    assert_success(model_read(in_folder(name), NULL, &m));
    assert_success(quantization_read(m, &q));
    for (int i = 0; i < m->ops->nops && q.range; i++) {
        const struct value_range r = q.range[m->ops->op[i].out];
        assert_true(isfinite(r.low) && isfinite(r.high) && r.low <= 0 && r.high >= 0 && r.high > r.low);
    }
    model_destroy(&m);
    return q;
}

static bool same_file(const char *a, const char *b) {
    return run(0, "cmp %s %s", a, b) == 0;
}

static void test_calibrate(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 3; ranks++) {
        succeeds(
            run(ranks, GODWIT_PROGRAM " calibrate source.h5 int8.%d.h5 --data data --samples 150", ranks),
            "calibrate");
        assert_non_null(strstr(out, "float32  accuracy "));
        assert_non_null(strstr(out, "int8     accuracy "));
        char name[32];
        snprintf(name, sizeof name, "int8.%d.h5", ranks);
        struct quantization q = quantization_of(name);
        assert_true(q.precision == PRECISION_INT8 && q.range);
        quantization_clear(&q);
        if (ranks == 3) assert_true(same_file("int8.2.h5", name)); /* both of one thread a rank */
    }
    succeeds(run(0, GODWIT_PROGRAM " calibrate int8.0.h5 int8.0.h5 --data data --precision float32"),
             "float32");
    struct quantization q = quantization_of("int8.0.h5");
    assert_true(q.precision == PRECISION_FLOAT32 && !q.range);
}

/* A model of images of any size takes that of the data, and stays one of any size. */
static void test_any_size(void **state) {
    (void)state;
    struct graph *graph = NULL;
    struct model *m = NULL;
    build_ok(graph_create("any", &graph));
    int x = build_input(graph, "x", "?,?,?,1");
    int y = build_layer(graph, "Conv2D", "y", "filters=3 kernel_size=3 padding=same", 1, &x);
    int z = build_layer(graph, "GlobalAveragePooling2D", "z", "", 1, &y);
    build_ok(graph_add_output(graph, (struct edge){z, 0}));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &m));
    for (int64_t i = 0; i < m->params->count[0]; i++) params_at(m->params, 0)[i] = i % 2 ? -0.5F : 1;
    assert_success(model_write(in_folder("any.h5"), m));
    model_destroy(&m);
    succeeds(run(2, GODWIT_PROGRAM " calibrate any.h5 any8.h5 --data data"), "any size");
    succeeds(run(2, GODWIT_PROGRAM " evaluate any.h5 --data data"), "any size");
    assert_success(model_read(in_folder("any8.h5"), NULL, &m));
    const struct shape *input = &m->ops->value[m->ops->input[0]];
    assert_true(input->dim[1] == SHAPE_UNKNOWN && input->dim[2] == SHAPE_UNKNOWN);
    model_destroy(&m);
    struct quantization q = quantization_of("any8.h5");
    assert_true(q.precision == PRECISION_INT8 && q.range);
    quantization_clear(&q);
}

static double accuracy(void) {
    const char *at = strstr(out, "\"accuracy\": ");
    assert_non_null(at);
    return atof(at + 12);
}

static void test_migrate(void **state) {
    (void)state;
    static const char *const precisions[] = {"int8", "int8_gptq", "bfloat16", "int4"};
    for (int i = 0; i < 4; i++) {
        succeeds(run(2,
                     GODWIT_PROGRAM
                     " migrate migrate.json --set training.epochs=0 --set target.precision=%s --set "
                     "output=small.h5 --set runs=p%d",
                     precisions[i], i),
                 precisions[i]);
        struct quantization q = quantization_of("small.h5");
        assert_int_equal(q.precision, i == 3   ? PRECISION_FLOAT32
                                      : i == 2 ? PRECISION_BFLOAT16
                                               : PRECISION_INT8);
        quantization_clear(&q);
        succeeds(run(0, GODWIT_PROGRAM " evaluate small.h5 --data data --json"), "as it says");
        const double rounded = accuracy();
        succeeds(run(0, GODWIT_PROGRAM " evaluate small.h5 --data data --json --precision float32"),
                 "float32");
        assert_non_null(strstr(out, "\"precision\": \"float32\""));
        assert_true(fabs(rounded - accuracy()) < 0.05);
    }
}

static void test_wrong(void **state) {
    (void)state;
    fails(run(0, GODWIT_PROGRAM " evaluate source.h5 --data data --precision int8"), 65, "godwit calibrate");
    fails(run(0, GODWIT_PROGRAM " evaluate source.h5 --data data --precision int9"), 2, "\"int9\"");
    fails(run(0, GODWIT_PROGRAM " calibrate source.h5 --data data"), 2, "DST.h5 is missing");
    fails(run(0, GODWIT_PROGRAM " calibrate source.h5 x.h5"), 2, "--data is missing");
    fails(run(2, GODWIT_PROGRAM " calibrate source.h5 x.h5 --data nowhere"), 74, "nowhere");
    fails(run(2, GODWIT_PROGRAM " calibrate nothing.h5 x.h5 --data data"), 74, "nothing.h5");
    fails(run(2, GODWIT_PROGRAM " calibrate source.h5 nowhere/x.h5 --data data"), 74, "nowhere/x.h5");
    assert_true(run(0, "test -e x.h5") != 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_calibrate), cmocka_unit_test(test_any_size),
                                       cmocka_unit_test(test_migrate), cmocka_unit_test(test_wrong)};
    return cmocka_run_group_tests(tests, begin, end);
}

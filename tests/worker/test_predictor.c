/* A predictor: any number of samples, any shapes, several threads at once; what it keeps and what it drops.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"
#include "worker/predictor.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

static const struct engine *counted; /* what the counting engine computes with */
static atomic_int compiled;

static status count_compile(const struct opgraph *graph, const struct exec_options *options,
                            struct exec **exec) {
    atomic_fetch_add(&compiled, 1);
    return counted->compile(graph, options, exec);
}

static const struct engine counting = {.name = "counting", .description = "", .compile = count_compile};

static int compiled_since(void) {
    return atomic_exchange(&compiled, 0);
}

static float *floats(int64_t n) {
    float *v = malloc((size_t)(n + 1) * sizeof *v);
    assert_non_null(v);
    return v;
}

static float value_at(int64_t k, int seed) {
    return (float)((k * (5 + 2 * seed) + seed) % 11 - 4);
}

static float *values(int64_t n, int seed) {
    float *v = floats(n);
    for (int64_t k = 0; k < n; k++) v[k] = value_at(k, seed);
    return v;
}

/* Inputs a, b (3); outputs a - b and max(a, 0). */
static struct model *two_ends(void) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("ends", &graph));
    int a = build_input(graph, "a", "?,3"), b = build_input(graph, "b", "?,3");
    build_output(graph, build_layer(graph, "Subtract", "d", "", 2, (int[]){a, b}));
    build_output(graph, build_layer(graph, "ReLU", "r", "", 1, &a));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    return model;
}

/* The mean over height and width, and the maximum of each pair of columns, of images of any size. */
static struct model *any_size(void) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("any", &graph));
    int x = build_input(graph, "x", "?,?,?,2");
    build_output(graph, build_layer(graph, "GlobalAveragePooling2D", "mean", "", 1, &x));
    build_output(graph, build_layer(graph, "MaxPooling2D", "max", "pool_size=1,2 strides=1,2", 1, &x));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    return model;
}

/* 40 inputs, 30 outputs, kernel and bias by formula. */
#define DENSE_IN 40
#define DENSE_OUT 30
static struct model *dense(void) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("dense", &graph));
    int x = build_input(graph, "x", "?,40");
    build_output(graph, build_layer(graph, "Dense", "d", "units=30", 1, &x));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    for (int64_t i = 0; i < DENSE_IN * DENSE_OUT; i++) params_at(model->params, 0)[i] = value_at(i, 3) / 8;
    for (int64_t i = 0; i < DENSE_OUT; i++) params_at(model->params, 1)[i] = value_at(i, 1);
    return model;
}

static struct predictor *predictor_of(const struct predictor_options *options, const struct model *model) {
    struct predictor *predictor = NULL;
    build_ok(predictor_create(options, model, &predictor));
    return predictor;
}

/* ---- checks by formula ---- */

static void check_two_ends(struct predictor *predictor, int64_t n) {
    const struct shape in[2] = {SHAPE(n, 3), SHAPE(1, 3)}; /* what is said of the samples here is ignored */
    struct shape out[2];
    float *a = values(3 * n, 0), *b = values(3 * n, 1), *d = floats(3 * n), *r = floats(3 * n + 1);
    build_ok(predictor_outputs(predictor, in, out));
    build_shape_is(&out[0], &SHAPE(SHAPE_UNKNOWN, 3));
    d[3 * n] = r[3 * n] = 77;
    build_ok(predictor_run(predictor, n, in, (const float *[]){a, b}, (float *[]){d, r}));
    for (int64_t k = 0; k < 3 * n; k++) {
        if (d[k] != a[k] - b[k]) fail_msg("%g at %lld of %lld", d[k], (long long)k, (long long)n);
        if (r[k] != fmaxf(a[k], 0)) fail_msg("%g at %lld of %lld", r[k], (long long)k, (long long)n);
    }
    assert_true(d[3 * n] == 77 && r[3 * n] == 77); /* nothing is written behind the last sample */
    free(a);
    free(b);
    free(d);
    free(r);
}

static int wrong_any_size(struct predictor *predictor, int64_t n, int64_t h, int64_t w) {
    const struct shape in = SHAPE(n, h, w, 2);
    const int64_t half = w / 2;
    int wrong = 0;
    float *x = values(n * h * w * 2, (int)(h + w) % 3), *mean = floats(n * 2),
          *max = floats(n * h * half * 2);
    status error = predictor_run(predictor, n, &in, (const float *[]){x}, (float *[]){mean, max});
    wrong += error != SUCCESS;
    status_drop(&error);
    for (int64_t s = 0; s < n; s++)
        for (int c = 0; c < 2; c++) {
            const float *image = x + s * h * w * 2 + c;
            double sum = 0;
            for (int64_t i = 0; i < h * w; i++) sum += image[i * 2];
            wrong += fabs(sum / (double)(h * w) - mean[s * 2 + c]) > 1e-5;
            for (int64_t i = 0; i < h; i++)
                for (int64_t j = 0; j < half; j++) {
                    float larger = fmaxf(image[(i * w + 2 * j) * 2], image[(i * w + 2 * j + 1) * 2]);
                    wrong += max[((s * h + i) * half + j) * 2 + c] != larger;
                }
        }
    free(x);
    free(mean);
    free(max);
    return wrong;
}

static void check_dense(struct predictor *predictor, int64_t n) {
    const struct shape in = SHAPE(n, DENSE_IN);
    float *x = values(n * DENSE_IN, 2), *y = floats(n * DENSE_OUT);
    /* At an address that is a multiple of four bytes only. */
    float *shifted = floats(n * DENSE_IN + 1);
    memcpy(shifted + 1, x, (size_t)(n * DENSE_IN) * sizeof *x);
    build_ok(predictor_run(predictor, n, &in, (const float *[]){shifted + 1}, &y));
    for (int64_t s = 0; s < n; s++)
        for (int64_t m = 0; m < DENSE_OUT; m++) {
            double sum = value_at(m, 1);
            for (int64_t k = 0; k < DENSE_IN; k++)
                sum += (double)x[s * DENSE_IN + k] * value_at(k * DENSE_OUT + m, 3) / 8;
            if (fabs(sum - y[s * DENSE_OUT + m]) > 1e-4) fail_msg("sample %lld: %g", (long long)s, sum);
        }
    free(x);
    free(y);
    free(shifted);
}

/* ---- tests ---- */

/* Numbers of samples around those of pieces, by one thread and shared out (50,001: enough to be worth it). */
static void samples(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 23, 63, 64, 65, 200, 50001};
    struct model *model = two_ends();
    for (int e = 0; e < engine_count(); e++)
        for (int threads = 1; threads <= 3; threads += 2) {
            const struct predictor_options options = {.engine = engine_at(e), .threads = threads};
            struct predictor *predictor = predictor_of(&options, model);
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) check_two_ends(predictor, counts[c]);
            predictor_destroy(&predictor);
        }
    model_destroy(&model);
}

/* Execs are made once for each power of two, and then used again. */
static void pieces(void **state) {
    (void)state;
    struct model *model = dense();
    build_ok(engine_find(NULL, &counted));
    const struct predictor_options options = {.engine = &counting, .threads = 1};
    struct predictor *predictor = predictor_of(&options, model);
    int forms, execs;
    size_t nbytes;
    compiled_since();
    build_ok(predictor_prepare(predictor, 23, &SHAPE(1, DENSE_IN)));
    assert_int_equal(compiled_since(), 4); /* 16, 4, 2, 1 */
    for (int64_t n = 1; n <= 23; n++)
        if (!(n & 8)) check_dense(predictor, n);
    assert_int_equal(compiled_since(), 0);
    check_dense(predictor, 15);
    assert_int_equal(compiled_since(), 1); /* 8 */
    check_dense(predictor, 1000);
    assert_int_equal(compiled_since(), 2); /* 64, 32 */
    check_dense(predictor, 1001);
    assert_int_equal(compiled_since(), 0);
    predictor_keeps(predictor, &forms, &execs, &nbytes);
    assert_int_equal(forms, 1);
    assert_int_equal(execs, 7);
    assert_true(nbytes >= 7 * DENSE_IN * DENSE_OUT * sizeof(float));
    predictor_destroy(&predictor);
    model_destroy(&model);
}

/* Little memory: pieces of two sizes, of which the last is filled up; one exec at most is kept. */
static void little_memory(void **state) {
    (void)state;
    struct model *model = dense();
    build_ok(engine_find(NULL, &counted));
    const struct predictor_options options = {
        .engine = &counting, .threads = 3, .batch = 32, .nbytes = 3 * DENSE_IN * DENSE_OUT * sizeof(float)};
    struct predictor *predictor = predictor_of(&options, model);
    int forms, execs;
    size_t nbytes;
    compiled_since();
    check_dense(predictor, 7);
    check_dense(predictor, 32);
    check_dense(predictor, 50);
    assert_int_equal(compiled_since(), 1);
    check_dense(predictor, 1);
    assert_int_equal(compiled_since(), 1);
    check_dense(predictor, 65);
    assert_true(compiled_since() <= 2);
    predictor_keeps(predictor, &forms, &execs, &nbytes);
    assert_in_range(execs, 1, 2);
    assert_true(execs == 1 || nbytes <= options.nbytes);
    predictor_destroy(&predictor);
    model_destroy(&model);
}

/* Shapes are remembered, and forgotten, those of longest ago first; with them go their execs. */
static void shapes(void **state) {
    (void)state;
    struct model *model = any_size();
    struct shape out[2];
    for (int e = 0; e < engine_count(); e++) {
        counted = engine_at(e);
        const struct predictor_options options = {.engine = &counting, .threads = 1, .forms = 2};
        struct predictor *predictor = predictor_of(&options, model);
        int forms, execs;
        size_t nbytes;
        compiled_since();
        build_ok(predictor_outputs(predictor, &SHAPE(5, 3, 8, 2), out));
        build_shape_is(&out[0], &SHAPE(SHAPE_UNKNOWN, 2));
        build_shape_is(&out[1], &SHAPE(SHAPE_UNKNOWN, 3, 4, 2));
        assert_int_equal(wrong_any_size(predictor, 1, 3, 8), 0);
        assert_int_equal(wrong_any_size(predictor, 1, 5, 6), 0);
        assert_int_equal(compiled_since(), 2);
        assert_int_equal(wrong_any_size(predictor, 1, 3, 8), 0);
        assert_int_equal(compiled_since(), 0);
        assert_int_equal(wrong_any_size(predictor, 3, 1, 2), 0); /* 5 by 6 is forgotten */
        predictor_keeps(predictor, &forms, &execs, &nbytes);
        assert_int_equal(forms, 2);
        assert_int_equal(execs, 3);
        compiled_since();
        assert_int_equal(wrong_any_size(predictor, 1, 3, 8), 0);
        assert_int_equal(compiled_since(), 0);
        assert_int_equal(wrong_any_size(predictor, 1, 5, 6), 0);
        assert_int_equal(compiled_since(), 1);
        build_refused(predictor_outputs(predictor, &SHAPE(1, 3, 8, 3), out), STATUS_DATA,
                      "input \"x\" takes (?, ?, ?, 2), not (1, 3, 8, 3)");
        build_refused(predictor_run(predictor, 1, &SHAPE(1, 3, 8), NULL, NULL), STATUS_DATA, "input \"x\"");
        assert_int_equal(wrong_any_size(predictor, 2, 5, 6), 0);
        predictor_destroy(&predictor);
    }
    model_destroy(&model);
}

struct caller {
    struct predictor *predictor;
    int number, wrong;
};

static void *call(void *data) {
    struct caller *caller = data;
    for (int i = 0; i < 40; i++) {
        int k = i * (1 + caller->number);
        caller->wrong += wrong_any_size(caller->predictor, 1 + k % 5, 2 + k % 3, 4 + k % 2);
    }
    return NULL;
}

/* Several threads on one predictor that remembers fewer shapes than they have, and keeps little. */
static void threads(void **state) {
    (void)state;
    struct model *model = any_size();
    for (int e = 0; e < engine_count(); e++)
        for (size_t nbytes = 1; nbytes < ((size_t)1 << 30); nbytes <<= 20) {
            const struct predictor_options options = {
                .engine = engine_at(e), .threads = 2, .forms = 2, .nbytes = nbytes};
            struct predictor *predictor = predictor_of(&options, model);
            struct caller caller[4];
            pthread_t thread[4];
            int forms, execs;
            for (int i = 0; i < 4; i++) {
                caller[i] = (struct caller){predictor, i, 0};
                assert_int_equal(pthread_create(&thread[i], NULL, call, &caller[i]), 0);
            }
            for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
            for (int i = 0; i < 4; i++) assert_int_equal(caller[i].wrong, 0);
            predictor_keeps(predictor, &forms, &execs, &nbytes);
            assert_int_equal(forms, 2);
            nbytes = options.nbytes;
            predictor_destroy(&predictor);
        }
    model_destroy(&model);
}

/* An id that an embedding does not have is an error of its run only, alone and shared out. */
static void bad_value(void **state) {
    (void)state;
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("ids", &graph));
    int x = build_input(graph, "x", "?,2");
    build_output(graph, build_layer(graph, "Embedding", "e", "input_dim=4 output_dim=64", 1, &x));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    const int64_t n = 5000;
    float *ids = calloc((size_t)n * 2, sizeof *ids), *y = floats(n * 128);
    for (int64_t i = 0; i < 256; i++) params_at(model->params, 0)[i] = (float)i;
    for (int e = 0; e < engine_count(); e++)
        for (int t = 1; t <= 2; t++) {
            const struct predictor_options options = {.engine = engine_at(e), .threads = t};
            struct predictor *predictor = predictor_of(&options, model);
            ids[999] = 4;
            build_refused(predictor_run(predictor, n, &SHAPE(n, 2), (const float *[]){ids}, &y), STATUS_DATA,
                          "4");
            ids[999] = 3;
            build_ok(predictor_run(predictor, n, &SHAPE(n, 2), (const float *[]){ids}, &y));
            assert_true(y[999 * 64 + 5] == 3 * 64 + 5 && y[998 * 64 + 5] == 5);
            predictor_destroy(&predictor);
        }
    free(ids);
    free(y);
    model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples), cmocka_unit_test(pieces),  cmocka_unit_test(little_memory),
        cmocka_unit_test(shapes),  cmocka_unit_test(threads), cmocka_unit_test(bad_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Every transform of migration programs: values against its formula, computed here from all of the argument
 * at once; rows in any order; what is refused, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph_build.h"
#include "shared/transform.h"
#include "worker/decomposition.h"

/* A source of one Conv2D with kernel (2, 3, 4, 6), which a Dense of kernel (6, 5) follows, and of a batch
 * norm. */
static struct graph *source, *target;
static bool used[64]; /* transforms that some case has */

static float value_of(int layer, int weight, int64_t i) {
    const char *name = source->layer[layer].weight[weight].name;
    float x = (float)((unsigned)((i + 1) * 7919 + layer * 31 + weight * 17) % 997u) / 499 - 1;
    return strstr(name, "variance") ? x + 1.5f : x;
}

static status read_source(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    int64_t rows, columns;
    (void)context;
    shape_rows(&source->layer[layer].weight[weight].shape, &rows, &columns);
    if (first < 0 || first + n > rows) return status_fail(STATUS_INTERNAL, "rows that are not there");
    for (int64_t i = 0; i < n * columns; i++) out[i] = value_of(layer, weight, first * columns + i);
    return SUCCESS;
}

static status decompose(void *context, int64_t m, int64_t n, double *a, double *u, double *s, double *vt) {
    (void)context;
    return singular_values(m, n, a, u, s, vt);
}

static int set_up(void **state) {
    (void)state;
    build_ok(graph_create("source", &source));
    int x = build_input(source, "input", "?,5,6,4");
    x = build_layer(source, "Conv2D", "conv", "filters=6 kernel_size=2,3", 1, &x);
    x = build_layer(source, "BatchNormalization", "norm", "epsilon=0.25", 1, &x);
    x = build_layer(source, "Dense", "a/b", "units=5", 1, &x);
    build_output(source, x);
    build_ok(graph_infer(source));
    target = source;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    graph_destroy(&source);
    return 0;
}

/* The program whose only statement has this shape and value, with keep lists before it. */
static char *program(const char *keeps, const char *shape, const char *value) {
    char *text = NULL;
    assert_true(
        asprintf(&text,
                 "plan 1 source \"s.h5\" target \"t\"\n%s\nslice 0 \"a/b\" {\n\"conv/kernel\" %s = %s\n}\n",
                 keeps, shape, value) > 0);
    return text;
}

static void mark_used(const struct expr *expr) {
    for (int i = 0; i < transform_count(); i++) used[i] |= transform_at(i) == expr->transform;
    for (int i = 0; i < expr->nargs; i++) mark_used(expr->arg[i]);
}

/* All of the value, and every run of rows the same. Owned. */
static float *evaluated(const char *keeps, const char *shape, const char *value) {
    struct plan *plan = NULL;
    struct position at;
    struct evaluation *evaluation = NULL;
    struct evaluation_sources sources = {.read = read_source, .svd = decompose};
    char *text = program(keeps, shape, value);
    status error = plan_parse(text, strlen(text), source, target, &plan, &at);
    if (error) fail_msg("%s: %d:%d: %s", value, at.line, at.column, status_message(error));
    const struct expr *expr = plan->statement[0].value;
    mark_used(expr);
    int64_t rows, columns;
    shape_rows(&expr->shape, &rows, &columns);
    float *all = calloc((size_t)(rows * columns), sizeof *all),
          *part = calloc((size_t)(rows * columns), sizeof *part);
    assert_true(all && part);
    build_ok(evaluation_create(plan, &sources, &evaluation));
    build_ok(evaluation_rows(evaluation, expr, 0, rows, all));
    for (int64_t n = 1; n <= rows; n += 1 + n / 3)
        for (int64_t first = rows - n; first >= 0; first -= 1 + first / 4) {
            if (first % 2) evaluation_forget(evaluation);
            build_ok(evaluation_rows(evaluation, expr, first, n, part));
            if (memcmp(part, all + first * columns, (size_t)(n * columns) * sizeof *part) != 0)
                fail_msg("%s: rows %d to %d differ", value, (int)first, (int)(first + n));
        }
    evaluation_destroy(&evaluation);
    plan_destroy(&plan);
    free(part);
    free(text);
    return all;
}

/* ---- formulas, over the kernel k[2][3][4][6] ---- */

#define KERNEL_SHAPE 2, 3, 4, 6
#define COUNT (2 * 3 * 4 * 6)

static double kernel(int64_t i) {
    return value_of(1, 0, i);
}

static double identity(int64_t i) {
    return kernel(i);
}

static double parts(int64_t i) { /* [1:2, 0:3:2, k0, [5 0]] -> (1, 2, 2, 2), k0 = [1 3] */
    static const int64_t last[] = {5, 0}, third[] = {1, 3};
    int64_t a = 1, b = i / 4 % 2 * 2, c = third[i / 2 % 2], d = last[i % 2];
    return kernel(((a * 3 + b) * 4 + c) * 6 + d);
}

static double transposed(int64_t i) { /* (3, 1, 0, 2): shape (6, 3, 2, 4) */
    int64_t d = i / 24, b = i / 8 % 3, a = i / 4 % 2, c = i % 4;
    return kernel(((a * 3 + b) * 4 + c) * 6 + d);
}

static double joined_last(int64_t i) { /* two, side by side: (2, 3, 4, 12) */
    return kernel(i / 12 * 6 + i % 6) * (i % 12 < 6 ? 1 : 2);
}

static double joined_second(int64_t i) { /* (2, 4, 4, 6): the first of axis 1 again */
    int64_t a = i / 96, b = i / 24 % 4, rest = i % 24;
    return kernel((a * 3 + (b < 3 ? b : 0)) * 24 + rest);
}

static double scaled(int64_t i) {
    return kernel(i) * -0.5 + 3;
}

static double less_mean(int64_t i) { /* along axis 2 */
    double sum = 0;
    for (int c = 0; c < 4; c++) sum += kernel(i / 24 * 24 + c * 6 + i % 6);
    return kernel(i) - sum / 4;
}

static double by_deviation(int64_t i) { /* of all */
    double sum = 0, square = 0;
    for (int64_t k = 0; k < COUNT; k++) sum += kernel(k);
    for (int64_t k = 0; k < COUNT; k++) square += (kernel(k) - sum / COUNT) * (kernel(k) - sum / COUNT);
    return kernel(i) / sqrt(square / COUNT);
}

static double by_largest(int64_t i) { /* along axis 0 */
    return kernel(i) / fmax(fabs(kernel(i % 72)), fabs(kernel(i % 72 + 72)));
}

static double eight_bits(int64_t i) { /* a scale for each of axis 3 */
    double largest = 0;
    for (int64_t k = i % 6; k < COUNT; k += 6) largest = fmax(largest, fabs(kernel(k)));
    return rint(kernel(i) / (largest / 127)) * (largest / 127);
}

static double four_bits(int64_t i) { /* of all */
    double largest = 0;
    for (int64_t k = 0; k < COUNT; k++) largest = fmax(largest, fabs(kernel(k)));
    return rint(kernel(i) / (largest / 7)) * (largest / 7);
}

static double eight_bits_affine(int64_t i) { /* of all */
    double low = 0, high = 0;
    for (int64_t k = 0; k < COUNT; k++) low = fmin(low, kernel(k)), high = fmax(high, kernel(k));
    double scale = (high - low) / 255, zero = rint(-128 - low / scale);
    return (fmin(fmax(rint(kernel(i) / scale) + zero, -128), 127) - zero) * scale;
}

static double norm_scale(int64_t c) {
    return value_of(2, 0, c) / sqrt(value_of(2, 3, c) + 0.25);
}

static double folded(int64_t i) {
    return kernel(i) * norm_scale(i % 6);
}

static double folded_first(int64_t i) { /* the channels on the first axis of the Dense's kernel (6, 5) */
    return value_of(3, 0, i) * norm_scale(i / 5);
}

static double folded_bias(int64_t i) {
    return value_of(2, 1, i) + (value_of(1, 1, i) - value_of(2, 2, i)) * norm_scale(i);
}

static double dense(int64_t i) {
    return value_of(3, 0, i);
}

static double zero(int64_t i) {
    return (void)i, 0;
}

static double one(int64_t i) {
    return (void)i, 1;
}

static void test_values(void **state) {
    (void)state;
    static const struct {
        const char *shape, *value;
        int64_t count;
        double (*formula)(int64_t i);
    } cases[] = {
        {"(2, 3, 4, 6)", "source[\"conv/kernel\"]", COUNT, identity},
        {"(6, 5)", "source[\"a/b/kernel\"]", 30, dense},
        {"(1, 2, 2, 2)", "source[\"conv/kernel\"][1:2, 0:3:2, k0, [5 0]]", 8, parts},
        {"(6, 3, 2, 4)", "transpose(source[\"conv/kernel\"], (3, 1, 0, 2))", COUNT, transposed},
        {"(4, 9, 4)", "reshape(source[\"conv/kernel\"], (4, 9, 4))", COUNT, identity},
        {"(144,)", "reshape(source[\"conv/kernel\"], (144,))", COUNT, identity},
        {"(2, 3, 4, 12)", "concat(source[\"conv/kernel\"], scale(source[\"conv/kernel\"], 2), axis -1)",
         2 * COUNT, joined_last},
        {"(2, 4, 4, 6)", "concat(source[\"conv/kernel\"], source[\"conv/kernel\"][:, 0:1, :, :], axis 1)",
         192, joined_second},
        {"(2, 3, 4, 6)", "offset(scale(source[\"conv/kernel\"], -0.5), 3)", COUNT, scaled},
        {"(2, 3, 4, 6)", "normalize(source[\"conv/kernel\"], mean, axis 2)", COUNT, less_mean},
        {"(2, 3, 4, 6)", "normalize(source[\"conv/kernel\"], std)", COUNT, by_deviation},
        {"(2, 3, 4, 6)", "normalize(source[\"conv/kernel\"], absmax, axis 0)", COUNT, by_largest},
        {"(2, 3, 4, 6)", "quantize(source[\"conv/kernel\"], int8, axis 3)", COUNT, eight_bits},
        {"(2, 3, 4, 6)", "quantize(source[\"conv/kernel\"], int8_affine)", COUNT, eight_bits_affine},
        {"(2, 3, 4, 6)", "quantize(source[\"conv/kernel\"], int4)", COUNT, four_bits},
        {"(2, 3, 4, 6)", "quantize(source[\"conv/kernel\"], int8, axis 3, rounding gptq)", COUNT, eight_bits},
        {"(2, 3, 4, 6)", "fold_bn(source[\"conv/kernel\"], \"norm\")", COUNT, folded},
        {"(6, 5)", "fold_bn(source[\"a/b/kernel\"], \"norm\", axis 0)", 30, folded_first},
        {"(6,)", "fold_bn_bias(source[\"conv/bias\"], \"norm\")", 6, folded_bias},
        {"(3, 2)", "init(zeros, (3, 2))", 6, zero},
        {"(3, 2)", "init(ones, (3, 2), seed 4)", 6, one},
        {"(2, 3, 4, 6)", "refit(cast(source[\"conv/kernel\"], float32))", COUNT, identity},
        {"(6, 5)", "low_rank(source[\"a/b/kernel\"], 5)", 30, dense},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        float *y = evaluated("keep k0 = channels(\"input\", 2 of 4, [1 3])", cases[c].shape, cases[c].value);
        for (int64_t i = 0; i < cases[c].count; i++)
            if (!(fabs(y[i] - cases[c].formula(i)) <= 1e-6 * (1 + fabs(cases[c].formula(i)))))
                fail_msg("%s: value %d is %g, not %g", cases[c].value, (int)i, y[i], cases[c].formula(i));
        free(y);
    }
}

/* The product of the factors is the best approximation: its error is the singular values that it lacks. */
static void test_low_rank(void **state) {
    (void)state;
    double a[30], u[30], s[5], vt[25], error = 0, left_out = 0;
    for (int i = 0; i < 30; i++) a[i] = dense(i);
    build_ok(singular_values(6, 5, a, u, s, vt));
    float *both = evaluated("", "(6, 5)", "low_rank(source[\"a/b/kernel\"], 2)");
    float *left = evaluated("", "(6, 2)", "low_rank(source[\"a/b/kernel\"], 2, part left)");
    float *right = evaluated("", "(2, 5)", "low_rank(source[\"a/b/kernel\"], 2, part right)");
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 5; j++) {
            double product = (double)left[2 * i] * right[j] + (double)left[2 * i + 1] * right[5 + j];
            assert_true(fabs(product - both[5 * i + j]) < 1e-6);
            error += pow(both[5 * i + j] - dense(5 * i + j), 2);
        }
    for (int i = 2; i < 5; i++) left_out += s[i] * s[i];
    assert_true(left_out > 1e-3 && fabs(error - left_out) < 1e-5 * left_out);
    free(both);
    free(left);
    free(right);
}

/* Each input channel's window by its outputs is a matrix, and the product of the two kernels its best
 * approximation: the error is the singular values that it lacks. */
static void test_separable(void **state) {
    (void)state;
    enum { T = 6, C = 4, M = 6, D = 2 };
    const char *shapes[] = {"(2, 3, 4, 6)", "(2, 3, 4, 2)", "(1, 1, 8, 6)"};
    float *whole = evaluated("", shapes[0], "source[\"conv/kernel\"]");
    float *both = evaluated("", shapes[0], "separable(source[\"conv/kernel\"], 2)");
    float *depthwise = evaluated("", shapes[1], "separable(source[\"conv/kernel\"], 2, part depthwise)");
    float *pointwise = evaluated("", shapes[2], "separable(source[\"conv/kernel\"], 2, part pointwise)");
    double lacking = 0, error = 0;
    for (int c = 0; c < C; c++) {
        double a[T * M], u[T * T], s[T], vt[T * M];
        for (int t = 0; t < T; t++)
            for (int m = 0; m < M; m++) {
                double x = whole[(t * C + c) * M + m], y = both[(t * C + c) * M + m], product = 0;
                for (int d = 0; d < D; d++)
                    product += (double)depthwise[(t * C + c) * D + d] * pointwise[(c * D + d) * M + m];
                assert_true(fabs(product - y) < 1e-6);
                a[t * M + m] = x;
                error += (x - y) * (x - y);
            }
        build_ok(singular_values(T, M, a, u, s, vt));
        for (int i = D; i < T; i++) lacking += s[i] * s[i];
    }
    assert_true(lacking > 1e-3 && fabs(error - lacking) < 1e-5 * lacking);
    free(whole);
    free(both);
    free(depthwise);
    free(pointwise);
}

/* Onto fewer channels: the singular values and left singular vectors, so that columns are orthogonal and as
 * long as the largest values. Onto more: the channels, and differences. */
static void test_project(void **state) {
    (void)state;
    double a[30], u[30], s[5], vt[25];
    for (int i = 0; i < 30; i++) a[i] = dense(i);
    build_ok(singular_values(6, 5, a, u, s, vt));
    float *few = evaluated("", "(6, 3)", "project(source[\"a/b/kernel\"], 3)");
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            double product = 0;
            for (int r = 0; r < 6; r++) product += (double)few[3 * r + i] * few[3 * r + j];
            assert_true(fabs(product - (i == j ? s[i] * s[i] : 0)) < 1e-5 * s[0] * s[0]);
        }
    float *more = evaluated("", "(6, 12)", "project(source[\"a/b/kernel\"], 12)");
    for (int r = 0; r < 6; r++)
        for (int c = 0; c < 12; c++) {
            static const int pair[12][2] = {{0, -1}, {1, -1}, {2, -1}, {3, -1}, {4, -1}, {0, 1},
                                            {1, 2},  {2, 3},  {3, 4},  {4, 0},  {0, 2},  {1, 3}};
            double x = dense(5 * r + pair[c][0]), y = pair[c][1] < 0 ? 0 : dense(5 * r + pair[c][1]);
            assert_true(fabs(more[12 * r + c] - (x - y)) < 1e-6);
        }
    free(few);
    free(more);
}

/* Numbers that the standards give: ties to even, subnormals, overflow. */
static void test_cast(void **state) {
    (void)state;
    static const struct {
        const char *number;
        float bfloat16, float16;
    } cases[] = {
        {"1", 1, 1},
        {"1.00390625", 1, 1.00390625f},         /* a tie: 1 + 2^-8 */
        {"1.01171875", 1.015625f, 1.01171875f}, /* a tie: 1 + 3 * 2^-8 */
        {"0.1", 0.10009765625f, 0.0999755859375f},
        {"-3.3895314e38", -3.3895314e38f, -INFINITY},
        {"65519", 65536, 65504},
        {"65520", 65536, INFINITY},
        {"5.9604645e-8", 5.9604645e-8f, 5.9604645e-8f}, /* the smallest of float16, 2^-24 */
        {"2.9802322e-8", 2.9802322e-8f, 0},             /* half of it */
        {"8.9e-8", 8.8941306e-8f, 5.9604645e-8f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char value[128];
        snprintf(value, sizeof value, "cast(offset(init(zeros, (1,)), %s), bfloat16)", cases[i].number);
        float *y = evaluated("", "(1,)", value);
        snprintf(value, sizeof value, "cast(offset(init(zeros, (1,)), %s), float16)", cases[i].number);
        float *z = evaluated("", "(1,)", value);
        if (*y != cases[i].bfloat16 || *z != cases[i].float16)
            fail_msg("%s: %.9g, %.9g, not %.9g, %.9g", cases[i].number, *y, *z, cases[i].bfloat16,
                     cases[i].float16);
        free(y);
        free(z);
    }
}

/* Their distributions: bounds, and variances to a tenth. */
static void test_init(void **state) {
    (void)state;
    const double n = 3 * 3 * 40 * 50;
    double bound = sqrt(6.0 / (9 * 40 + 9 * 50)), square[2] = {0};
    float *y[2] = {evaluated("", "(3, 3, 40, 50)", "init(glorot_uniform, (3, 3, 40, 50))"),
                   evaluated("", "(3, 3, 40, 50)", "init(he_normal, (3, 3, 40, 50), seed 7)")};
    for (int64_t i = 0; i < (int64_t)n; i++) {
        assert_true(fabs(y[0][i]) <= bound);
        for (int k = 0; k < 2; k++) square[k] += y[k][i] * y[k][i] / n;
    }
    assert_true(fabs(square[0] / (bound * bound / 3) - 1) < 0.1);
    assert_true(fabs(square[1] / (2.0 / (9 * 40)) - 1) < 0.1);
    free(y[0]);
    free(y[1]);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *shape, *value; /* ^: where the error is */
        const char *message;
    } cases[] = {
        {"(1,)", "^nothing(1)", "there is no transform nothing"},
        {"(1,)", "^transpse(source[\"conv/kernel\"])", "did you mean transpose?"},
        {"(1,)", "source[^\"conv/kernl\"]", "layer \"conv\" has no \"kernl\"; it has \"kernel\""},
        {"(1,)", "source[^\"cnv/kernel\"]", "there is no layer \"cnv\"; did you mean \"conv\"?"},
        {"(1,)", "source[^\"conv\"]", "is no \"layer/weight\""},
        {"(6, 5)", "^source[\"conv/kernel\"]", "this has shape (2, 3, 4, 6), not (6, 5)"},
        {"(1,)", "transpose(source[\"conv/kernel\"], ^(0, 1, 2))", "(0, 1, 2) is no order of 4 axes"},
        {"(1,)", "transpose(source[\"conv/kernel\"], ^(0, 1, 2, 2))", "is no order of 4 axes"},
        {"(1,)", "transpose(source[\"conv/kernel\"]^)", "is not what transpose takes here"},
        {"(1,)", "reshape(source[\"conv/kernel\"], ^(5, 5))", "has not as many values as (2, 3, 4, 6)"},
        {"(1,)", "concat(source[\"conv/kernel\"], ^source[\"a/b/kernel\"], axis 0)", "does not go with"},
        {"(1,)", "normalize(source[\"conv/kernel\"], ^median)", "expected mean|std|absmax, not median"},
        {"(1,)", "normalize(source[\"conv/kernel\"], mean, axis ^4)", "(2, 3, 4, 6) has no such axis"},
        {"(1,)", "fold_bn(source[\"conv/kernel\"], ^\"a/b\")", "is no batch norm, but a Dense"},
        {"(1,)", "^fold_bn(source[\"conv/kernel\"], \"norm\", axis 2)", "\"norm\" has 6 channels"},
        {"(1,)", "low_rank(source[\"a/b/kernel\"], ^6)", "a matrix of 6 by 5 has no rank 6"},
        {"(1,)", "separable(source[\"conv/kernel\"], ^7)", "a window of 6 positions has no multiplier 7"},
        {"(1,)", "project(source[\"a/b/kernel\"], ^0)", "a projection is on one channel at least"},
        {"(1,)", "^separable(source[\"a/b/kernel\"], 1)", "not of (6, 5)"},
        {"(1,)", "source[\"a/b/kernel\"][^4:7, :]", "4:7 is no part of axis 0, which has 6 positions"},
        {"(1,)", "source[\"a/b/kernel\"][:, ^[0 5]]", "position 5 is beyond axis 1, which has 5"},
        {"(1,)", "source[\"a/b/kernel\"][^k0, :]", "k0 keeps of 4 positions, but axis 0 has 6"},
        {"(1,)", "source[\"a/b/kernel\"][:^]", "(6, 5) has 2 axes"},
        {"(1,)", "source[\"a/b/kernel\"][:, :^, :]", "(6, 5) has 2 axes"},
        {"(1,)", "source[\"a/b/kernel\"][:, ^k7]", "there is no keep list k7"},
        {"(6, 5)", "scale(^refit(source[\"a/b/kernel\"]), 2)", "refit is the outermost transform"},
        {"(1,)", "scale(source[\"a/b/kernel\"], ^two)", "expected a number, not two"},
        {"(1,)", "scale(source[\"a/b/kernel\"], ^1e999)", "is no number"},
        {"(1,)", "init(zeros, (2, ^0))", "0 is out of range"},
        {"(1,)", "^concat(init(zeros, (1000000, 1000000)), init(zeros, (1000000, 1000000)), axis 0)",
         "more values than any memory holds"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char value[256], *caret;
        snprintf(value, sizeof value, "%s", cases[c].value);
        caret = strchr(value, '^');
        memmove(caret, caret + 1, strlen(caret));
        char *text = program("keep k0 = channels(\"input\", 2 of 4)", cases[c].shape, value);
        int column = (int)(strlen("\"conv/kernel\" ") + strlen(cases[c].shape) + strlen(" = ") +
                           (size_t)(caret - value)) +
                     1;
        struct plan *plan = NULL;
        struct position at;
        status error = plan_parse(text, strlen(text), source, target, &plan, &at);
        if (status_code(error) != STATUS_DATA || !strstr(status_message(error), cases[c].message) ||
            at.line != 4 || at.column != column)
            fail_msg("%s: %d:%d: \"%s\", not 4:%d: \"%s\"", value, at.line, at.column, status_message(error),
                     column, cases[c].message);
        assert_null(plan);
        status_drop(&error);
        free(text);
    }
}

static void test_all_are_tested(void **state) {
    (void)state;
    for (int i = 0; i < transform_count(); i++)
        if (!used[i]) fail_msg("no case has the transform %s", transform_at(i)->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),    cmocka_unit_test(test_low_rank),
        cmocka_unit_test(test_separable), cmocka_unit_test(test_project),
        cmocka_unit_test(test_cast),      cmocka_unit_test(test_init),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_all_are_tested),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

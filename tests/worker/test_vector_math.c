/* The vectorisable functions against the C library's in double precision, over their whole range. */
#include "worker/engines/vector_math.h"
#include "shared/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* In loops of their own, as they are used. */
enum { N = 4096 };
#define LOOP(name)                                                                                           \
    static void loop_##name(const float *restrict x, float *restrict y) {                                    \
        for (int i = 0; i < N; i++) y[i] = name(x[i]);                                                       \
    }
LOOP(exp_f32)
LOOP(expm1_f32)
LOOP(sigmoid_f32)
LOOP(tanh_f32)
LOOP(softplus_f32)
LOOP(normal_cdf_f32)

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double softplus(double x) {
    return x > 30 ? x : log1p(exp(x));
}
static double normal_cdf(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}

struct function {
    const char *name;
    void (*loop)(const float *x, float *y);
    double (*definition)(double);
    float low, high;
    double tolerance, least; /* relative to the greater of the result and `least` */
};

static void check(const struct function *f) {
    static float x[N], y[N];
    struct rng rng = rng_make(1, RNG_INIT, 0);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < N; i++) {
            double u = rng_uniform(&rng);
            x[i] = (float)((double)f->low + u * (double)(f->high - f->low));
            /* Near zero too, where they exist, at every size down to 1e-8. */
            if (f->low < 0 && i % 2) x[i] *= (float)pow(10, -8 * rng_uniform(&rng));
        }
        x[0] = f->low;
        x[1] = f->high;
        f->loop(x, y);
        for (int i = 0; i < N; i++) {
            double t = f->definition(x[i]), error = fabs((double)y[i] - t) / fmax(fabs(t), f->least);
            if (error <= f->tolerance) continue;
            print_error("%s(%.9g) is %.9g, error %.3g\n", f->name, (double)x[i], (double)y[i], error);
            fail();
        }
    }
}

static void errors(void **state) {
    (void)state;
    static const struct function functions[] = {
        {"exp", loop_exp_f32, exp, -87, 88.72f, 2e-7, 0},
        {"exp", loop_exp_f32, exp, -103, -87, 2e-7, 1.2e-38}, /* denormal */
        {"expm1", loop_expm1_f32, expm1, -100, 88.72f, 3e-7, 0},
        {"expm1", loop_expm1_f32, expm1, -1, 1, 3e-7, 0},
        {"sigmoid", loop_sigmoid_f32, sigmoid, -87, 87, 3e-7, 0},
        {"sigmoid", loop_sigmoid_f32, sigmoid, -8, 8, 3e-7, 0},
        {"tanh", loop_tanh_f32, tanh, -100, 100, 5e-7, 0},
        {"tanh", loop_tanh_f32, tanh, -2, 2, 5e-7, 0},
        {"softplus", loop_softplus_f32, softplus, -87, 100, 4e-7, 0},
        {"softplus", loop_softplus_f32, softplus, -4, 4, 4e-7, 0},
        {"normal_cdf", loop_normal_cdf_f32, normal_cdf, -50, 50, 2e-7, 1},
        {"normal_cdf", loop_normal_cdf_f32, normal_cdf, -5, 5, 2e-7, 1},
        {"normal_cdf", loop_normal_cdf_f32, normal_cdf, -5.6f, -1, 1e-3, 0},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) check(&functions[i]);
}

static void extremes(void **state) {
    (void)state;
    static const float x[] = {-INFINITY, -1e30f, -1000, 0, 1000, 1e30f, INFINITY};
    static const float expected[][6] = {
        {0, -1, 0, -1, 0, 0},
        {0, -1, 0, -1, 0, 0},
        {0, -1, 0, -1, 0, 0},
        {1, 0, 0.5f, 0, 0.693147181f, 0.5f},
        {INFINITY, INFINITY, 1, 1, 1000, 1},
        {INFINITY, INFINITY, 1, 1, 1e30f, 1},
        {INFINITY, INFINITY, 1, 1, INFINITY, 1},
    };
    static float v[N], y[6][N];
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++) v[i] = x[i];
    v[7] = NAN;
    loop_exp_f32(v, y[0]);
    loop_expm1_f32(v, y[1]);
    loop_sigmoid_f32(v, y[2]);
    loop_tanh_f32(v, y[3]);
    loop_softplus_f32(v, y[4]);
    loop_normal_cdf_f32(v, y[5]);
    for (int k = 0; k < 6; k++) {
        for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)
            assert_true(y[k][i] == expected[i][k] || fabsf(y[k][i] - expected[i][k]) <= 1e-7f);
        assert_true(isnan(y[k][7]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors), cmocka_unit_test(extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

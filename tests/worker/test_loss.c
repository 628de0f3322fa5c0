/* Losses against their definitions in double precision, gradients against central differences of these. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/rng.h"
#include "worker/loss.h"

#define N 7
#define CLASSES 5

static char cross_entropy[] = "cross_entropy", squared[] = "mean_squared_error";

static void softmax(const double *z, double temperature, double *p) {
    double sum = 0;
    for (int j = 0; j < CLASSES; j++) sum += p[j] = exp(z[j] / temperature);
    for (int j = 0; j < CLASSES; j++) p[j] /= sum;
}

/* One sample's loss by the definition. */
static double defined(const struct loss_config *c, const double *z, const double *teacher, int label) {
    double d = teacher ? c->distillation : 0, s = c->label_smoothing, T = c->temperature, loss = 0;
    if (c->kind == squared) {
        for (int j = 0; j < CLASSES; j++) {
            double a = z[j] - (j == label ? 1 : 0), b = teacher ? z[j] - teacher[j] : 0;
            loss += ((1 - d) * a * a + d * b * b) / CLASSES;
        }
        return loss;
    }
    double p[CLASSES], q[CLASSES];
    softmax(z, 1, p);
    for (int j = 0; j < CLASSES; j++) loss -= (1 - d) * ((j == label ? 1 - s : 0) + s / CLASSES) * log(p[j]);
    if (!teacher) return loss;
    softmax(z, T, p);
    softmax(teacher, T, q);
    for (int j = 0; j < CLASSES; j++) loss += d * T * T * q[j] * log(q[j] / p[j]);
    return loss;
}

static void check(const struct loss_config *c, bool taught, uint64_t seed) {
    float z[N][CLASSES], teacher[N][CLASSES], grad[N][CLASSES];
    int32_t label[N];
    struct rng rng = rng_make(seed, 1, 1);
    for (int i = 0; i < N; i++) {
        label[i] = (int32_t)rng_below(&rng, CLASSES);
        for (int j = 0; j < CLASSES; j++) {
            z[i][j] = (float)(2 * rng_normal(&rng));
            teacher[i][j] = (float)(2 * rng_normal(&rng));
        }
    }
    struct loss_result result = {.loss = 100, .correct = 3};
    const int64_t divisor = 3 * N; /* the global batch is larger than this rank's */
    loss_add(c, N, CLASSES, z[0], taught ? teacher[0] : NULL, label, divisor, grad[0], &result);

    double expected = 100, scale = 0;
    int64_t correct = 3;
    for (int i = 0; i < N; i++) {
        double a[CLASSES], t[CLASSES], slope[CLASSES];
        int best = 0;
        for (int j = 0; j < CLASSES; j++) {
            a[j] = z[i][j];
            t[j] = teacher[i][j];
            if (z[i][j] > z[i][best]) best = j;
        }
        correct += best == label[i];
        expected += defined(c, a, taught ? t : NULL, label[i]);
        for (int j = 0; j < CLASSES; j++) {
            const double h = 1e-5;
            a[j] = z[i][j] + h;
            double up = defined(c, a, taught ? t : NULL, label[i]);
            a[j] = z[i][j] - h;
            double down = defined(c, a, taught ? t : NULL, label[i]);
            a[j] = z[i][j];
            slope[j] = (up - down) / (2 * h) / (double)divisor;
            scale = fmax(scale, fabs(slope[j]));
            if (!(fabs(slope[j] - grad[i][j]) <= 1e-6 * (fabs(slope[j]) + 1)))
                fail_msg("%s: gradient (%d, %d) is %g, not %g", c->kind, i, j, (double)grad[i][j], slope[j]);
        }
    }
    assert_true(scale > 1e-3); /* there was something to compare */
    if (!(fabs(result.loss - expected) <= 1e-9 * expected))
        fail_msg("%s: loss %.12g, not %.12g", c->kind, result.loss, expected);
    assert_int_equal(result.correct, correct);

    struct loss_result again = {.loss = 100, .correct = 3};
    loss_add(c, N, CLASSES, z[0], taught ? teacher[0] : NULL, label, divisor, NULL, &again);
    assert_true(again.loss == result.loss && again.correct == result.correct);
    if (taught) { /* without labels: the teacher's classes */
        struct loss_result with = {0}, without = {0};
        for (int i = 0; i < N; i++) {
            label[i] = 0;
            for (int j = 1; j < CLASSES; j++)
                if (teacher[i][j] > teacher[i][label[i]]) label[i] = j;
        }
        loss_add(c, N, CLASSES, z[0], teacher[0], label, divisor, NULL, &with);
        loss_add(c, N, CLASSES, z[0], teacher[0], NULL, divisor, NULL, &without);
        assert_true(with.loss == without.loss && with.correct == without.correct);
    }
}

static void test_cross_entropy(void **state) {
    (void)state;
    for (int s = 0; s < 3; s++) {
        struct loss_config c = {
            .kind = cross_entropy, .label_smoothing = 0.15 * s, .distillation = 0.9, .temperature = 3};
        check(&c, false, 10 + (uint64_t)s); /* without a teacher d and T mean nothing */
    }
}

static void test_distillation(void **state) {
    (void)state;
    static const double weight[] = {0, 0.3, 0.9, 1}, temperature[] = {0.5, 1, 2, 7};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            struct loss_config c = {.kind = cross_entropy,
                                    .label_smoothing = 0.1,
                                    .distillation = weight[i],
                                    .temperature = temperature[j]};
            check(&c, true, 20 + 4 * (uint64_t)i + (uint64_t)j);
        }
}

static void test_squared(void **state) {
    (void)state;
    static const double weight[] = {0, 0.4, 1};
    for (int i = 0; i < 3; i++) {
        struct loss_config c = {.kind = squared, .distillation = weight[i], .temperature = 2};
        check(&c, true, 50 + (uint64_t)i);
        check(&c, false, 60 + (uint64_t)i);
    }
}

/* A teacher that agrees leaves only the entropy-free part: zero loss, zero gradient. */
static void test_agreeing_teacher(void **state) {
    (void)state;
    float z[CLASSES] = {1, -2, 3, 0.5f, 7}, grad[CLASSES];
    struct loss_config c = {.kind = cross_entropy, .distillation = 1, .temperature = 4};
    struct loss_result result = {0};
    loss_add(&c, 1, CLASSES, z, z, &(int32_t){2}, 1, grad, &result);
    assert_true(fabs(result.loss) < 1e-12);
    for (int j = 0; j < CLASSES; j++) assert_true(fabsf(grad[j]) < 1e-7f);
}

/* Logits far apart must not overflow: exp(1000) has no double. */
static void test_large_logits(void **state) {
    (void)state;
    float z[CLASSES] = {1000, -1000, 0, 0, 0}, grad[CLASSES];
    struct loss_config c = {.kind = cross_entropy, .temperature = 1};
    struct loss_result result = {0};
    loss_add(&c, 1, CLASSES, z, NULL, &(int32_t){1}, 1, grad, &result);
    assert_true(fabs(result.loss - 2000) < 1e-9);
    assert_true(grad[0] == 1 && grad[1] == -1 && grad[2] == 0);
}

static void test_nan_passes_through(void **state) {
    (void)state;
    char *kinds[] = {cross_entropy, squared};
    for (int k = 0; k < 2; k++)
        for (int at = 0; at < CLASSES; at++)
            for (int bad = 0; bad < 2; bad++) {
                float z[CLASSES] = {1, 2, 3, 4, 5}, t[CLASSES] = {5, 4, 3, 2, 1}, grad[CLASSES] = {0};
                z[at] = bad ? INFINITY : NAN;
                struct loss_config c = {
                    .kind = kinds[k], .label_smoothing = 0.1, .distillation = 0.5, .temperature = 2};
                struct loss_result result = {0};
                loss_add(&c, 1, CLASSES, z, t, &(int32_t){0}, 1, grad, &result);
                assert_false(isfinite(result.loss));
                assert_false(isfinite(grad[at]));
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_distillation),
        cmocka_unit_test(test_squared),       cmocka_unit_test(test_agreeing_teacher),
        cmocka_unit_test(test_large_logits),  cmocka_unit_test(test_nan_passes_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

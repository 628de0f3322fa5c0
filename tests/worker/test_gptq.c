/* Rounding by gptq: against the paper's formula with explicit inverses, and against what rounding to the
 * nearest gives, with errors computed from the inputs themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "shared/rng.h"
#include "shared/status.h"
#include "worker/gptq.h"
#include "worker/least_squares.h"

#define ROWS 40
#define K_MAX 80
#define M_MAX 70

/* Inputs x (ROWS, k), the last of them 1 if there is a bias, weights w (k, m), a rounding for each output. */
struct problem {
    int k, m, rounded;
    double x[ROWS][K_MAX], w[K_MAX * M_MAX], gram[K_MAX * K_MAX], q[K_MAX * M_MAX];
    int group[K_MAX * M_MAX];
    struct rounding wide[M_MAX], rounding[M_MAX];
};

static struct problem p; /* too large for the stack */

/* Inputs depend on each other: each is a mixture of a few, and noise. */
static void make(int k, int m, bool bias, double levels, uint64_t seed) {
    struct rng rng = rng_make(seed, 1, 1);
    p = (struct problem){.k = k + bias, .m = m, .rounded = k};
    for (int r = 0; r < ROWS; r++) {
        double common[3] = {rng_normal(&rng), rng_normal(&rng), 1};
        for (int i = 0; i < k; i++) p.x[r][i] = common[i % 3] * (1 + i % 5) / 2 + 0.3 * rng_normal(&rng);
        if (bias) p.x[r][k] = 1;
    }
    for (int i = 0; i < p.k; i++)
        for (int j = 0; j < p.k; j++)
            for (int r = 0; r < ROWS; r++) p.gram[i * p.k + j] += p.x[r][i] * p.x[r][j];
    for (int i = 0; i < p.k; i++)
        for (int j = 0; j < m; j++) {
            p.w[i * m + j] = rng_normal(&rng);
            if (i < k) p.wide[j].scale = fmax(p.wide[j].scale, fabs(p.w[i * m + j]) / levels);
            p.group[i * m + j] = j;
        }
    for (int j = 0; j < m; j++) {
        p.wide[j].highest = levels;
        p.wide[j].lowest = -levels;
    }
    memcpy(p.rounding, p.wide, sizeof p.wide);
}

static struct gptq_errors solve(bool narrows, int threads) {
    struct gptq task = {.k = p.k,
                        .m = p.m,
                        .rounded = p.rounded,
                        .gram = p.gram,
                        .w = p.w,
                        .group = p.group,
                        .ngroups = p.m,
                        .rounding = p.rounding,
                        .narrows = narrows};
    struct gptq_errors errors;
    memcpy(p.rounding, p.wide, sizeof p.wide);
    assert_null(gptq_round(&task, threads, p.q, &errors));
    return errors;
}

static double nearest(double scale, double levels, double v) {
    double whole = floor(v / scale + 0.5);
    return scale * (whole > levels ? levels : whole < -levels ? -levels : whole);
}

/* |x (w - q)|² of output j, from the inputs. */
static double error_of(const double *q, int j) {
    double sum = 0;
    for (int r = 0; r < ROWS; r++) {
        double y = 0;
        for (int i = 0; i < p.k; i++) y += p.x[r][i] * (p.w[i * p.m + j] - q[i * p.m + j]);
        sum += y * y;
    }
    return sum;
}

static double nearest_error(int j, double factor) {
    static double q[K_MAX * M_MAX];
    for (int i = 0; i < p.k; i++)
        q[i * p.m + j] = i < p.rounded
                             ? nearest(p.wide[j].scale * factor, p.wide[j].highest, p.w[i * p.m + j])
                             : p.w[i * p.m + j];
    return error_of(q, j);
}

/* The paper's equations (2) and (3), with the inverse of what remains worked out anew each time. */
static void by_formula(int j, double *q) {
    int order[K_MAX];
    double w[K_MAX], mean = 0;
    for (int i = 0; i < p.rounded; i++) mean += p.gram[i * p.k + i] / p.rounded;
    for (int i = 0; i < p.k; i++) {
        order[i] = i;
        w[i] = p.w[i * p.m + j];
    }
    for (int i = 0; i < p.rounded; i++) /* by falling diagonal */
        for (int l = i + 1; l < p.rounded; l++)
            if (p.gram[order[l] * (p.k + 1)] > p.gram[order[i] * (p.k + 1)]) {
                int swap = order[i];
                order[i] = order[l];
                order[l] = swap;
            }
    for (int f = 0; f < p.rounded; f++) {
        static double h[K_MAX * K_MAX], unit[K_MAX];
        int n = p.k - f, at = order[f];
        memset(unit, 0, sizeof unit);
        unit[0] = 1; /* the first column of the inverse is all that is needed */
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++)
                h[a * n + b] = p.gram[order[f + a] * p.k + order[f + b]] +
                               (a == b && f + a < p.rounded ? 0.01 * mean : 0);
        gauss(n, 1, h, unit);
        double value = nearest(p.wide[j].scale, p.wide[j].highest, w[at]);
        double change = (w[at] - value) / unit[0];
        for (int a = 1; a < n; a++) w[order[f + a]] -= change * unit[a];
        w[at] = value;
    }
    for (int i = 0; i < p.k; i++) q[i * p.m + j] = w[i];
}

static void test_formula(void **state) {
    (void)state;
    static double q[K_MAX * M_MAX];
    int improved = 0;
    for (int trial = 0; trial < 24; trial++) {
        make(trial < 20 ? 3 + trial % 9 : 70, 1 + trial % 5, trial % 2, trial % 3 ? 7 : 127,
             (uint64_t)trial + 1);
        struct gptq_errors errors = solve(false, 1);
        double sum = 0, near = 0;
        for (int j = 0; j < p.m; j++) {
            by_formula(j, q);
            double with = error_of(q, j), without = nearest_error(j, 1), is = error_of(p.q, j);
            double wanted = with <= without ? with : without;
            if (!(fabs(is - wanted) <= 1e-9 + 1e-6 * wanted))
                fail_msg("trial %d, output %d: error %g, not %g (the formula's %g, the nearest's %g)", trial,
                         j, is, wanted, with, without);
            for (int i = 0; i < p.k && with <= without; i++)
                if (!(fabs(p.q[i * p.m + j] - q[i * p.m + j]) < 1e-7))
                    fail_msg("trial %d: weight %d, %d is %g, not %g", trial, i, j, p.q[i * p.m + j],
                             q[i * p.m + j]);
            improved += with < without;
            sum += is;
            near += without;
        }
        assert_true(fabs(errors.rounded - sum) <= 1e-9 + 1e-6 * sum);
        assert_true(fabs(errors.nearest - near) <= 1e-9 + 1e-6 * near);
    }
    assert_true(improved > 30); /* of 70 */
}

/* Each output at most as wrong as with the nearest values, with smaller scales too; all values are of
 * fifteen, or of 255. */
static void test_no_worse(void **state) {
    (void)state;
    for (int trial = 0; trial < 12; trial++) {
        bool narrows = trial % 2;
        make(5 + 6 * trial, trial == 11 ? 70 : 4, trial % 3 == 0, trial % 4 < 2 ? 7 : 127,
             90 + (uint64_t)trial);
        solve(narrows, 1);
        double sum = 0, near = 0;
        for (int j = 0; j < p.m; j++) {
            double is = error_of(p.q, j), without = nearest_error(j, 1);
            if (!(is <= without * (1 + 1e-9) + 1e-12))
                fail_msg("trial %d, output %d: error %g, and %g by rounding", trial, j, is, without);
            sum += is;
            near += without;
            bool wide = true, narrow = true;
            for (int i = 0; i < p.rounded; i++) {
                double a = p.q[i * p.m + j] / p.rounding[j].scale, b = p.q[i * p.m + j] / p.wide[j].scale;
                narrow &= fabs(a - floor(a + 0.5)) < 1e-6 && fabs(a) < p.wide[j].highest + 1e-6;
                wide &= fabs(b - floor(b + 0.5)) < 1e-6 && fabs(b) < p.wide[j].highest + 1e-6;
            }
            assert_true(wide || (narrows && narrow));
            double largest = 0; /* tells the scale */
            for (int i = 0; i < p.rounded; i++) largest = fmax(largest, fabs(p.q[i * p.m + j]));
            for (int i = 0; i < p.rounded && narrows; i++) {
                double level = p.q[i * p.m + j] / (largest / p.wide[j].highest);
                if (!(fabs(level - floor(level + 0.5)) < 1e-6))
                    fail_msg("trial %d, output %d: a weight is %g steps of the largest", trial, j, level);
            }
        }
        assert_true(sum < 0.7 * near);
    }
}

/* Alone an input's weight is the nearest value. */
static void test_one_input(void **state) {
    (void)state;
    make(1, 6, false, 7, 5);
    for (int j = 0; j < p.m; j++) p.wide[j].scale = 0.1 + 0.05 * j;
    solve(false, 1);
    for (int j = 0; j < p.m; j++) assert_true(p.q[j] == nearest(p.wide[j].scale, 7, p.w[j]));
}

/* Inputs that have nothing to do with each other are rounded one by one: then the scale is the best of those
 * tried, of which these are some. */
static void test_scales(void **state) {
    (void)state;
    static const double factors[] = {1, 0.9, 0.8, 0.7, 0.6, 0.5};
    int narrowed = 0;
    make(ROWS, 30, false, 7, 6);
    memset(p.gram, 0, sizeof p.gram);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < p.k; i++) p.x[r][i] = r == i ? 2 : 0;
    for (int i = 0; i < p.k; i++) p.gram[i * p.k + i] = 4;
    solve(true, 1);
    for (int j = 0; j < p.m; j++) {
        narrowed += p.rounding[j].scale < p.wide[j].scale;
        for (size_t f = 0; f < sizeof factors / sizeof *factors; f++)
            assert_true(error_of(p.q, j) <= nearest_error(j, factors[f]) * (1 + 1e-9));
        for (int i = 0; i < p.k; i++)
            assert_true(fabs(p.q[i * p.m + j] - nearest(p.rounding[j].scale, 7, p.w[i * p.m + j])) < 1e-9);
    }
    assert_true(narrowed > 3);
}

static void test_threads(void **state) {
    (void)state;
    static double q[K_MAX * M_MAX];
    make(60, 70, true, 7, 8);
    solve(true, 1);
    memcpy(q, p.q, sizeof q);
    solve(true, 3);
    assert_memory_equal(q, p.q, sizeof q);
}

static void test_not_finite(void **state) {
    (void)state;
    struct gptq_errors errors;
    make(4, 2, false, 7, 9);
    p.gram[5] = NAN;
    struct gptq task = {.k = 4,
                        .m = 2,
                        .rounded = 4,
                        .gram = p.gram,
                        .w = p.w,
                        .group = p.group,
                        .ngroups = 2,
                        .rounding = p.rounding};
    status error = gptq_round(&task, 1, p.q, &errors);
    assert_int_equal(status_code(error), STATUS_DATA);
    status_drop(&error);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formula),   cmocka_unit_test(test_no_worse),
                                       cmocka_unit_test(test_one_input), cmocka_unit_test(test_scales),
                                       cmocka_unit_test(test_threads),   cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

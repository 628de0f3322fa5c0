/* Schedules at their key steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

#include "worker/learning_rate.h"

static char constant[] = "constant", cosine[] = "cosine", one_cycle[] = "one_cycle";

static void expect(const struct schedule_config *s, int64_t step, int64_t steps, double rate) {
    double is = learning_rate_at(s, step, steps);
    if (!(fabs(is - rate) <= 1e-12 * s->rate))
        fail_msg("%s, step %lld of %lld: %.15g, not %.15g", s->kind, (long long)step, (long long)steps, is,
                 rate);
}

static void test_constant(void **state) {
    (void)state;
    struct schedule_config s = {.kind = constant, .rate = 0.2, .warmup = 0.1, .final = 0.5};
    /* 100 steps, 10 of them rising: 1/10, 2/10, ... of the peak. */
    for (int i = 0; i < 10; i++) expect(&s, i, 100, 0.2 * (i + 1) / 10);
    expect(&s, 10, 100, 0.2);
    expect(&s, 99, 100, 0.2);
    s.warmup = 0;
    expect(&s, 0, 100, 0.2);
    s.warmup = 1; /* rises to the very end */
    expect(&s, 0, 4, 0.05);
    expect(&s, 3, 4, 0.2);
}

static void test_cosine(void **state) {
    (void)state;
    struct schedule_config s = {.kind = cosine, .rate = 0.004, .warmup = 0.2, .final = 0.25};
    double peak = 0.004, last = 0.001;
    expect(&s, 0, 51, peak / 10.2);
    expect(&s, 8, 51, peak * 9 / 10.2);
    s.warmup = 0;
    expect(&s, 0, 51, peak);
    expect(&s, 25, 51, (peak + last) / 2);
    expect(&s, 50, 51, last);
    expect(&s, 10, 51, last + (peak - last) * 0.5 * (1 + cos(acos(-1) / 5)));
    for (int i = 1; i < 51; i++) assert_true(learning_rate_at(&s, i, 51) < learning_rate_at(&s, i - 1, 51));
}

static void test_cosine_after_warmup(void **state) {
    (void)state;
    struct schedule_config s = {.kind = cosine, .rate = 1, .warmup = 0.1, .final = 0};
    /* 20 steps: 2 rise, 18 fall; the first of the fall has the peak, the last the final rate. */
    expect(&s, 0, 20, 0.5);
    expect(&s, 1, 20, 1);
    expect(&s, 2, 20, 1);
    expect(&s, 19, 20, 0);
    expect(&s, 2 + 17 / 2, 20, 0.5 * (1 + cos(acos(-1) * 8 / 17)));
    s.warmup = 1;
    expect(&s, 19, 20, 1);
}

static void test_one_cycle(void **state) {
    (void)state;
    struct schedule_config s = {.kind = one_cycle, .rate = 0.5, .warmup = 0.9 /* not used */, .final = 0.01};
    expect(&s, 0, 101, 0.02); /* peak / 25 */
    expect(&s, 15, 101, (0.02 + 0.5) / 2);
    expect(&s, 30, 101, 0.5);
    expect(&s, 65, 101, (0.5 + 0.005) / 2);
    expect(&s, 100, 101, 0.005);
}

/* A run of one step learns at the peak, not at a final rate that may be zero. */
static void test_single_step(void **state) {
    (void)state;
    char *kinds[] = {constant, cosine, one_cycle};
    for (int i = 0; i < 3; i++) {
        struct schedule_config s = {.kind = kinds[i], .rate = 0.3, .warmup = 0.05, .final = 0};
        expect(&s, 0, 1, 0.3);
    }
}

/* Never negative, never above the peak, never NaN: any number of steps, any warm-up. */
static void test_bounds(void **state) {
    (void)state;
    char *kinds[] = {constant, cosine, one_cycle};
    static const double part[] = {0, 0.01, 0.3, 0.5, 0.99, 1};
    for (int k = 0; k < 3; k++)
        for (int w = 0; w < 6; w++)
            for (int f = 0; f < 6; f++)
                for (int64_t steps = 1; steps < 40; steps++)
                    for (int64_t step = 0; step < steps; step++) {
                        struct schedule_config s = {
                            .kind = kinds[k], .rate = 2, .warmup = part[w], .final = part[f]};
                        double rate = learning_rate_at(&s, step, steps);
                        if (!(rate >= 0 && rate <= 2 + 1e-12))
                            fail_msg("%s, warm-up %g, step %d of %d: %g", s.kind, s.warmup, (int)step,
                                     (int)steps, rate);
                    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant),    cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_one_cycle),   cmocka_unit_test(test_cosine_after_warmup),
        cmocka_unit_test(test_single_step), cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

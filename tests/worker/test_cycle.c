/* Cycles of the learning rate, whole and shortened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

#include "worker/cycle.h"

#define STEPS 10 /* of an epoch */

static char cosine[] = "cosine";
static const struct schedule_config schedule = {.kind = cosine, .rate = 0.5, .final = 0.1};

/* Half a cosine from 0.5 to 0.05, at fraction t of the way. */
static double formula(double t) {
    return 0.05 + 0.45 * 0.5 * (1 + cos(acos(-1) * t));
}

static void expect(const struct cycle *c, int64_t epoch, int64_t step, double t) {
    double is = cycle_rate(c, &schedule, epoch, step, STEPS);
    if (!(fabs(is - formula(t)) < 1e-5))
        fail_msg("epoch %lld, step %lld: %.9g, not %.9g", (long long)epoch, (long long)step, is, formula(t));
}

static void test_whole(void **state) {
    (void)state;
    struct cycle c = {.length = 4};
    for (int i = 0; i < 40; i++) expect(&c, i / STEPS, i % STEPS, i / 39.0);
    struct cycle next = cycle_next(&c, 8);
    assert_int_equal(next.begin, 4);
    assert_int_equal(cycle_end(&next), 12);
    for (int i = 0; i < 80; i++) expect(&next, 4 + i / STEPS, i % STEPS, i / 79.0);
}

/* From where the rate was, evenly to the end of the cosine. */
static void test_shortened(void **state) {
    (void)state;
    struct cycle c = {.begin = 2, .length = 8, .pivot = 2};
    cycle_shorten(&c, 4, 3); /* a quarter is over, three of six epochs are left */
    assert_int_equal(cycle_end(&c), 7);
    for (int i = 0; i < 30; i++) expect(&c, 4 + i / STEPS, i % STEPS, 0.25 + 0.75 * i / 29.0);
    cycle_shorten(&c, 5, 1); /* once more, after one of the three */
    assert_int_equal(cycle_end(&c), 6);
    double at = 0.25 + 0.75 / 3;
    for (int i = 0; i < 10; i++) {
        double t = at + (1 - at) * i / 9.0, is = cycle_rate(&c, &schedule, 5, i, STEPS);
        assert_true(fabs(is - formula(t)) < 0.005);
    }
    expect(&c, 5, 9, 1);
    /* A cycle that is shortened before it begins is a shorter cycle. */
    struct cycle new = {.begin = 3, .length = 16, .pivot = 3};
    cycle_shorten(&new, 3, 2);
    for (int i = 0; i < 20; i++) expect(&new, 3 + i / STEPS, i % STEPS, i / 19.0);
}

static void test_lengths(void **state) {
    (void)state;
    assert_int_equal(cycle_first_length(1000), 4);
    assert_int_equal(cycle_first_length(100), 4);
    assert_int_equal(cycle_first_length(28), 15); /* 15 * 28 = 420 steps, 14 * 28 = 392 */
    assert_int_equal(cycle_first_length(1), 200);
    assert_true(cycle_gained(1, 0.984));
    assert_false(cycle_gained(1, 0.986));
    assert_false(cycle_gained(1, 1.1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_shortened),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

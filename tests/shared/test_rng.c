#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "shared/rng.h"

/* Values of the reference implementation of SplitMix64 for the state 1234567. */
static void test_splitmix64(void **state) {
    (void)state;
    static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                        4593380528125082431u, 16408922859458223821u};
    struct rng rng = {1234567};
    for (int i = 0; i < 5; i++) assert_true(rng_next(&rng) == expected[i]);
}

static void test_streams_are_apart_and_repeat(void **state) {
    (void)state;
    struct rng a = rng_make(1, RNG_INIT, 0), again = rng_make(1, RNG_INIT, 0);
    struct rng others[] = {rng_make(2, RNG_INIT, 0), rng_make(1, RNG_SHUFFLE, 0), rng_make(1, RNG_INIT, 1)};
    uint64_t first = rng_next(&a);
    assert_true(first == rng_next(&again));
    for (int i = 0; i < 3; i++) assert_false(first == rng_next(&others[i]));
}

/* Within five standard errors of the mean and variance that the distributions have. */
static void test_moments(void **state) {
    (void)state;
    enum { N = 200000 };
    struct rng rng = rng_make(3, RNG_INIT, 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
    assert_true(fabs(squares / N - 1.0 / 3) < 5 * sqrt(4.0 / 45 / N));
    sum = squares = 0;
    for (int i = 0; i < N; i++) {
        double z = rng_normal(&rng);
        assert_true(isfinite(z));
        sum += z;
        squares += z * z;
    }
    assert_true(fabs(sum / N) < 5 * sqrt(1.0 / N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0 / N));
}

static void test_below_is_uniform(void **state) {
    (void)state;
    enum { N = 70000 };
    struct rng rng = rng_make(4, RNG_INIT, 0);
    int count[7] = {0};
    for (int i = 0; i < N; i++) {
        uint64_t x = rng_below(&rng, 7);
        assert_true(x < 7);
        count[x]++;
    }
    for (int i = 0; i < 7; i++) assert_true(abs(count[i] - N / 7) < 5 * sqrt(N / 7.0));
    assert_true(rng_below(&rng, 1) == 0);
}

static void test_shuffle_permutes(void **state) {
    (void)state;
    int64_t v[100], moved = 0;
    bool seen[100] = {false};
    struct rng rng = rng_make(5, RNG_SHUFFLE, 0);
    for (int i = 0; i < 100; i++) v[i] = i;
    rng_shuffle(&rng, v, 100);
    for (int i = 0; i < 100; i++) {
        assert_in_range(v[i], 0, 99);
        assert_false(seen[v[i]]);
        seen[v[i]] = true;
        moved += v[i] != i;
    }
    assert_true(moved > 80);
    rng_shuffle(&rng, v, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splitmix64),       cmocka_unit_test(test_streams_are_apart_and_repeat),
        cmocka_unit_test(test_moments),          cmocka_unit_test(test_below_is_uniform),
        cmocka_unit_test(test_shuffle_permutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which ranks make which targets: against the best of all ways to deal them out, found by trying. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/schedule.h"
#include "shared/rng.h"

#define MOST 7

static int ranks_of(const struct schedule *s, int group) {
    return schedule_first_rank(s, group + 1) - schedule_first_rank(s, group);
}

/* When the last group is done. */
static double end_of(const struct schedule *s, const int *group, const double *cost) {
    double end = 0;
    for (int g = 0; g < s->ngroups; g++) {
        double load = 0;
        for (int i = 0; i < s->ntargets; i++) load += group[i] == g ? cost[i] : 0;
        if (load / ranks_of(s, g) > end) end = load / ranks_of(s, g);
    }
    return end;
}

static double best_end(const struct schedule *s, const double *cost) {
    int group[MOST] = {0};
    double best = end_of(s, group, cost);
    for (int at = 0; at < s->ntargets;) { /* counts up, in base ngroups */
        if (++group[at] == s->ngroups) {
            group[at++] = 0;
            continue;
        }
        at = 0;
        double end = end_of(s, group, cost);
        if (end < best) best = end;
    }
    return best;
}

static struct schedule *schedule_of(int n, const double *cost, int ranks) {
    struct schedule *s = NULL;
    assert_null(schedule_create(n, cost, ranks, &s));
    return s;
}

/* All ranks, each in one group, in their order, groups of about the same size. */
static void test_groups(void **state) {
    (void)state;
    const double cost[MOST] = {1, 2, 3, 4, 5, 6, 7};
    for (int n = 1; n <= MOST; n++)
        for (int ranks = 1; ranks <= 9; ranks++) {
            struct schedule *s = schedule_of(n, cost, ranks);
            assert_int_equal(s->ngroups, n < ranks ? n : ranks);
            int rank = 0;
            for (int g = 0; g < s->ngroups; g++) {
                assert_int_equal(schedule_first_rank(s, g), rank);
                assert_true(ranks_of(s, g) == ranks / s->ngroups || ranks_of(s, g) == ranks / s->ngroups + 1);
                for (int k = 0; k < ranks_of(s, g); k++)
                    assert_int_equal(schedule_group_of_rank(s, rank++), g);
            }
            assert_int_equal(rank, ranks);
            schedule_destroy(&s);
        }
}

/* Longest first is at most a third above the best for groups of equal size, and all is well dealt out for
 * others; no group is without a target. */
static void test_cost(void **state) {
    (void)state;
    struct rng rng = rng_make(4, 1, 1);
    for (int trial = 0; trial < 300; trial++) {
        int n = 1 + trial % MOST, ranks = 1 + trial / MOST % 6, count[MOST] = {0};
        double cost[MOST];
        for (int i = 0; i < n; i++) cost[i] = 0.05 + rng_uniform(&rng);
        struct schedule *s = schedule_of(n, cost, ranks), *again = schedule_of(n, cost, ranks);
        bool equal = ranks % s->ngroups == 0;
        assert_true(end_of(s, s->group, cost) <= best_end(s, cost) * (equal ? 4.0 / 3 : 2) * 1.000001);
        for (int i = 0; i < n; i++) {
            assert_in_range(s->group[i], 0, s->ngroups - 1);
            count[s->group[i]]++;
            assert_int_equal(s->group[i], again->group[i]);
        }
        for (int g = 0; g < s->ngroups; g++) assert_true(count[g] > 0);
        schedule_destroy(&s);
        schedule_destroy(&again);
    }
}

/* Of which nothing is known: as many for each group. */
static void test_equal(void **state) {
    (void)state;
    const double none[6] = {0};
    struct schedule *s = schedule_of(6, none, 3);
    int count[3] = {0};
    for (int i = 0; i < 6; i++) count[s->group[i]]++;
    for (int g = 0; g < 3; g++) assert_int_equal(count[g], 2);
    schedule_destroy(&s);
}

/* By its words: 100 samples, 10 operations of the source and 4 of the target. */
static void test_operations(void **state) {
    (void)state;
    struct config c = {.refit = {.samples = 50, .sweeps = 1}, .training = {.epochs = 5}};
    const double refit = 50 * 2 * 2 * (10 + 4);
    assert_float_equal(schedule_operations(&c, 100, 10, 4), 100 * (5 * 3 * 4 + 10) + refit, 1e-9);
    c.data.flip = true;
    assert_float_equal(schedule_operations(&c, 100, 10, 4), 100 * (5 * 3 * 4 + 5 * 10) + refit, 1e-9);
    c.data.flip = false;
    c.training.blockwise_epochs = 2;
    assert_float_equal(schedule_operations(&c, 100, 10, 4), 100 * (7 * 3 * 4 + 10) + refit, 1e-9);
    c.training.blockwise_epochs = c.training.epochs = 0;
    assert_float_equal(schedule_operations(&c, 100, 10, 4), refit, 1e-9);
    /* An automatic number is some number: more work than none, and more for the larger target. */
    c.training.epochs = -1;
    assert_true(schedule_operations(&c, 100, 10, 4) > refit);
    assert_true(schedule_operations(&c, 100, 10, 8) > schedule_operations(&c, 100, 10, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups), cmocka_unit_test(test_cost),
                                       cmocka_unit_test(test_equal), cmocka_unit_test(test_operations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

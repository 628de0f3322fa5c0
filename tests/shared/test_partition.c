/* Slices shared out over ranks, against all ways to do it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

#include "shared/partition.h"
#include "shared/rng.h"

#define SLICES_MAX 9

/* Load of the most loaded rank. */
static double load_of(const struct partition *p, const double *cost) {
    double worst = 0;
    for (int r = 0; r < p->nranks; r++) {
        double load = 0;
        for (int i = 0; i < p->nslices; i++)
            if (r >= p->first_rank[i] && r < p->first_rank[i] + p->ranks[i]) load += cost[i] / p->ranks[i];
        worst = fmax(worst, load);
    }
    return worst;
}

/* Least load by trying all cuts of n slices into at most `ranks` runs. */
static double best_runs(int n, const double *cost, int ranks) {
    if (!n) return 0;
    if (!ranks) return INFINITY;
    double best = INFINITY, load = 0;
    for (int last = 1; last <= n; last++) {
        load += cost[last - 1];
        best = fmin(best, fmax(load, best_runs(n - last, cost + last, ranks - 1)));
    }
    return best;
}

/* Least load by trying all numbers of ranks for each slice, at least one each. */
static double best_shares(int n, const double *cost, int ranks) {
    if (n == 1) return cost[0] / ranks;
    double best = INFINITY;
    for (int mine = 1; mine <= ranks - (n - 1); mine++)
        best = fmin(best, fmax(cost[0] / mine, best_shares(n - 1, cost + 1, ranks - mine)));
    return best;
}

static void check_form(const struct partition *p, int nslices, int nranks) {
    assert_int_equal(p->nslices, nslices);
    assert_int_equal(p->nranks, nranks);
    for (int i = 0; i < nslices; i++) {
        assert_true(p->ranks[i] >= 1);
        assert_in_range(p->first_rank[i], 0, nranks - 1);
        assert_in_range(p->first_rank[i] + p->ranks[i] - 1, 0, nranks - 1);
        if (i && nslices >= nranks) assert_in_range(p->first_rank[i] - p->first_rank[i - 1], 0, 1);
        if (i && nslices < nranks) assert_int_equal(p->first_rank[i], p->first_rank[i - 1] + p->ranks[i - 1]);
    }
    if (nslices < nranks) assert_int_equal(p->first_rank[nslices - 1] + p->ranks[nslices - 1], nranks);
}

static void test_best(void **state) {
    (void)state;
    for (uint64_t trial = 0; trial < 400; trial++) {
        struct rng rng = rng_make(trial, 1, 1);
        int nslices = 1 + (int)rng_below(&rng, SLICES_MAX), nranks = 1 + (int)rng_below(&rng, 10);
        double cost[SLICES_MAX];
        for (int i = 0; i < nslices; i++) {
            /* Zeros, equal costs, and costs of very different size. */
            cost[i] = trial % 3 ? floor(10 * rng_uniform(&rng)) : exp(10 * rng_uniform(&rng));
        }
        struct partition *p = NULL;
        assert_null(partition_create(nslices, cost, nranks, &p));
        check_form(p, nslices, nranks);
        double best =
            nranks > nslices ? best_shares(nslices, cost, nranks) : best_runs(nslices, cost, nranks);
        if (!(load_of(p, cost) <= best * (1 + 1e-9)))
            fail_msg("trial %d: load %.12g, possible %.12g", (int)trial, load_of(p, cost), best);
        partition_destroy(&p);
        assert_null(p);
    }
}

static void test_zero_costs(void **state) {
    (void)state;
    double cost[4] = {0};
    for (int nranks = 1; nranks < 8; nranks++) {
        struct partition *p = NULL;
        assert_null(partition_create(4, cost, nranks, &p));
        check_form(p, 4, nranks);
        partition_destroy(&p);
    }
}

/* Every chunk has one owner among the ranks of its slice, and all of them own some. */
static void test_owners(void **state) {
    (void)state;
    double cost[2] = {3, 1};
    struct partition *p = NULL;
    assert_null(partition_create(2, cost, 4, &p));
    assert_int_equal(p->ranks[0], 3);
    int owned[4] = {0};
    for (long long chunk = 0; chunk < 9; chunk++) owned[partition_owner(p, 0, chunk)]++;
    for (long long chunk = 9; chunk < 12; chunk++) owned[partition_owner(p, 1, chunk)]++;
    for (int r = 0; r < 4; r++) assert_int_equal(owned[r], 3);
    partition_destroy(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_zero_costs),
        cmocka_unit_test(test_owners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

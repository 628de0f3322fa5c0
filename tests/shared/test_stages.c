/* Slices and ranks grouped into stages, against all ways to do it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/rng.h"
#include "shared/stages.h"

#define SLICES_MAX 6

struct costs {
    double compute[SLICES_MAX], transfer[SLICES_MAX + 1], sum[SLICES_MAX], bytes[SLICES_MAX];
};

static struct stages_cost cost_of(const struct costs *c, int nslices, int64_t micro_batches) {
    return (struct stages_cost){.nslices = nslices,
                                .compute = c->compute,
                                .transfer = c->transfer,
                                .sum = c->sum,
                                .bytes = c->bytes,
                                .micro_batches = micro_batches};
}

/* Seconds of one stage, as the header says. */
static double stage_time(const struct stages_cost *c, int first, int end, int ranks) {
    double t = 0, sum = 0, bytes = 0;
    for (int i = first; i < end; i++) t += c->compute[i], sum += c->sum[i], bytes += c->bytes[i];
    if (c->bytes_limit > 0 && bytes > c->bytes_limit) return INFINITY;
    t += (first > 0 ? c->transfer[first] : 0) + (end < c->nslices ? c->transfer[end] : 0);
    return t * ceil((double)c->micro_batches / ranks) / (double)c->micro_batches + (ranks > 1 ? sum : 0);
}

/* Least time of the slowest stage by trying everything, for exactly `n` stages on exactly `ranks`. */
static double best_of(const struct stages_cost *c, int first, int n, int ranks) {
    if (n == 0) return first == c->nslices && ranks == 0 ? 0 : INFINITY;
    double best = INFINITY;
    for (int end = first + 1; end <= c->nslices; end++)
        for (int r = 1; r <= ranks; r++)
            best = fmin(best, fmax(stage_time(c, first, end, r), best_of(c, end, n - 1, ranks - r)));
    return best;
}

static void is_whole(const struct stages *s, int nslices, int nranks) {
    assert_int_equal(s->first_slice[0], 0);
    assert_int_equal(s->first_rank[0], 0);
    assert_int_equal(s->first_slice[s->nstages], nslices);
    assert_int_equal(s->first_rank[s->nstages], nranks);
    for (int i = 0; i < s->nstages; i++) {
        assert_true(s->first_slice[i] < s->first_slice[i + 1]);
        assert_true(s->first_rank[i] < s->first_rank[i + 1]);
    }
    for (int r = 0; r < nranks; r++) {
        int stage = stages_of_rank(s, r);
        assert_true(s->first_rank[stage] <= r && r < s->first_rank[stage + 1]);
    }
    for (int i = 0; i < nslices; i++) {
        int stage = stages_of_slice(s, i);
        assert_true(s->first_slice[stage] <= i && i < s->first_slice[stage + 1]);
    }
}

static void random_costs(struct costs *c, struct rng *rng) {
    for (int i = 0; i < SLICES_MAX; i++) {
        c->compute[i] = 0.1 + rng_uniform(rng);
        c->transfer[i] = 0.2 * rng_uniform(rng);
        c->sum[i] = 0.1 * rng_uniform(rng);
        c->bytes[i] = 1 + (double)rng_below(rng, 4);
    }
    c->transfer[SLICES_MAX] = 0;
}

static void test_best(void **state) {
    (void)state;
    struct rng rng = rng_make(4, 1, 1);
    for (int trial = 0; trial < 300; trial++) {
        struct costs costs;
        random_costs(&costs, &rng);
        int nslices = 1 + (int)rng_below(&rng, SLICES_MAX), nranks = 1 + (int)rng_below(&rng, 5);
        struct stages_cost c = cost_of(&costs, nslices, 1 + (int64_t)rng_below(&rng, 8));
        if (trial % 3 == 0) c.bytes_limit = 8;
        double best = INFINITY;
        for (int n = 1; n <= nslices && n <= nranks; n++) {
            double exactly = INFINITY; /* all ranks have to be somewhere, even where they do not help */
            for (int used = n; used <= nranks; used++) exactly = fmin(exactly, best_of(&c, 0, n, used));
            struct stages *s = NULL;
            status error = stages_create(&c, nranks, n, &s);
            if (!isfinite(exactly)) {
                assert_int_equal(status_code(error), STATUS_USAGE);
                status_drop(&error);
                continue;
            }
            assert_null(error);
            is_whole(s, nslices, nranks);
            assert_int_equal(s->nstages, n);
            double sums = 0;
            for (int i = 0; i < nslices; i++) sums += costs.sum[i];
            assert_true(stages_seconds(s, &c) <= exactly + sums + 1e-9);
            if (n == nranks) assert_float_equal(stages_seconds(s, &c), exactly, 1e-9);
            best = fmin(best, stages_seconds(s, &c));
            stages_destroy(&s);
        }
        if (!isfinite(best)) continue;
        struct stages *s = NULL;
        assert_null(stages_create(&c, nranks, 0, &s));
        is_whole(s, nslices, nranks);
        assert_float_equal(stages_seconds(s, &c), best, 1e-9);
        stages_destroy(&s);
    }
}

/* Four equal slices: two stages on two ranks compute all the time; flushed they wait for one micro-batch. */
static void test_utilization(void **state) {
    (void)state;
    const struct costs costs = {.compute = {1, 1, 1, 1}};
    struct stages_cost c = cost_of(&costs, 4, 8);
    struct stages *s = NULL;
    assert_null(stages_create(&c, 2, 2, &s));
    assert_int_equal(s->first_slice[1], 2);
    assert_float_equal(stages_seconds(s, &c), 2, 1e-12);
    assert_float_equal(stages_utilization(s, &c), 1, 1e-12);
    c.flushed = true;
    assert_float_equal(stages_seconds(s, &c), 2 + 2.0 / 8, 1e-12);
    assert_float_equal(stages_utilization(s, &c), 8.0 / 9, 1e-12);
    struct stages *other = NULL;
    assert_null(stages_create(&c, 2, 1, &other));
    assert_false(stages_equal(s, other));
    assert_true(stages_equal(s, s));
    assert_int_equal(stages_rank(other, 0, 5), 1);
    stages_destroy(&s);
    stages_destroy(&other);
}

static void test_errors(void **state) {
    (void)state;
    const struct costs costs = {.compute = {1, 1, 1}, .bytes = {2 << 20, 2 << 20, 2 << 20}};
    struct stages_cost c = cost_of(&costs, 3, 4);
    struct stages *s = NULL;
    const struct {
        double limit;
        int ranks, wanted;
        const char *part;
    } cases[] = {{0, 2, 3, "no 3 stages"},
                 {0, 9, 4, "no 4 stages"},
                 {2 << 20, 2, 0, "use at least 3"},
                 {1 << 20, 8, 0, "one slice alone needs 2 MiB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        c.bytes_limit = cases[i].limit;
        status error = stages_create(&c, cases[i].ranks, cases[i].wanted, &s);
        assert_int_equal(status_code(error), STATUS_USAGE);
        assert_non_null(strstr(status_message(error), cases[i].part));
        assert_null(s);
        status_drop(&error);
    }
}

static void test_text(void **state) {
    (void)state;
    struct stages *s = NULL;
    char *text = NULL;
    assert_null(stages_parse("3:1  5:2", 8, 3, &s));
    is_whole(s, 8, 3);
    assert_int_equal(s->first_slice[1], 3);
    assert_int_equal(s->first_rank[1], 1);
    assert_null(stages_print(s, &text));
    assert_string_equal(text, "3:1 5:2");
    free(text);
    stages_destroy(&s);
    static const char *const wrong[] = {
        "",         "8",       "3:1 5:1", "3:1 4:2", "3:0 5:3",       "0:1 8:2", "8:3 x",
        "-1:1 9:2", "8:3 1:1", "9:3",     "8:3,",    "8:99999999999", "4:1:4:2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        status error = stages_parse(wrong[i], 8, 3, &s);
        assert_int_equal(status_code(error), STATUS_USAGE);
        assert_null(s);
        status_drop(&error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_utilization),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

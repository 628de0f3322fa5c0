/* Successive halving with scores that are known: which trials there are, what is left, on any number of
 * ranks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/halving.h"

static struct comm *world;

#define N 7

/* A candidate's score falls with the budget towards its last one: the best in the end is not the best at
 * first. */
struct known {
    double start[N], end[N];
    int64_t budget[N][8]; /* of the trials that this rank led */
    int trials[N];
    int failing; /* candidate that fails; -1: none */
};

static double known_score(const struct known *k, int i, int64_t budget) {
    return k->end[i] + k->start[i] / (double)budget;
}

static status score(void *context, const struct machine *machine, int i, int64_t budget, double *s) {
    struct known *k = context;
    double one = 1;
    /* Ranks of a group work together: all of them are here. */
    STATUS_TRY(comm_sum_f64(machine->world, &one, 1));
    if ((int)one != comm_size(machine->world)) return status_fail(STATUS_INTERNAL, "a rank is missing");
    if (comm_is_root(machine->world)) k->budget[i][k->trials[i]++] = budget;
    if (i == k->failing) return status_fail(STATUS_DATA, "candidate %d", i);
    *s = known_score(k, i, budget);
    return SUCCESS;
}

static void check(bool mine) {
    bool any = false;
    assert_null(comm_any(world, !mine, &any));
    assert_false(any);
}

/* The same done by hand: how many trials each candidate must have had. */
static int by_hand(const struct known *k, int n, int trials[N]) {
    int left[N], m = n;
    for (int i = 0; i < n; i++) left[i] = i;
    for (int64_t budget = 3; m > 1; budget *= 2) {
        for (int i = 0; i < m; i++) trials[left[i]]++;
        while (m > 1) { /* drop the worst until half, rounded up, is left */
            static const int half[] = {0, 1, 1, 2, 2, 3, 3, 4};
            int wanted = 0, worst = 0, count = 0;
            for (int i = 0; i < n; i++) count += trials[i] == trials[left[0]];
            wanted = half[count];
            for (int i = 1; i < m; i++)
                if (!(known_score(k, left[i], budget) < known_score(k, left[worst], budget))) worst = i;
            if (m == wanted) break;
            memmove(&left[worst], &left[worst + 1], (size_t)(m - worst - 1) * sizeof *left);
            m--;
        }
    }
    return left[0];
}

static void run(struct known *k, int n, int wanted) {
    struct machine machine = {.world = world};
    double scores[N] = {0};
    int best = -1, trials[N] = {0};
    struct halving h = {.n = n, .budget = 3, .score = score, .context = k, .scores = scores};
    status error = halving_run(&machine, &h, &best);
    if (error) fail_msg("%s", status_message(error));
    assert_int_equal(by_hand(k, n, trials), wanted);
    check(best == wanted);
    for (int i = 0; i < n; i++) { /* budgets of 3, 6, 12, ... are 3 * (2^trials - 1) in all */
        double led[2] = {k->trials[i], 0};
        for (int j = 0; j < k->trials[i]; j++) led[1] += (double)k->budget[i][j];
        assert_null(comm_sum_f64(world, led, 2));
        check((int)led[0] == trials[i] && (int)led[1] == 3 * ((1 << trials[i]) - 1));
    }
    if (n > 1) check(scores[best] == known_score(k, best, (int64_t)3 << (trials[best] - 1)));
}

static void test_best_is_left(void **state) {
    (void)state;
    struct known k = {.end = {5, 4, 3, 2, 1, 6, 7}, .failing = -1};
    run(&k, 7, 4);
    struct known two = {.end = {2, 1}, .failing = -1};
    run(&two, 2, 1);
    struct known one = {.end = {2}, .failing = -1};
    run(&one, 1, 0);
    struct known equal = {.failing = -1};
    run(&equal, 5, 0);
}

/* Candidate 6 is the best in the end and third of the first trials: it must survive them. */
static void test_late_one_wins(void **state) {
    (void)state;
    struct known k = {.end = {3, 3, 3, 3, 2, 2.2, 1}, .start = {0, 9, 9, 9, 0, 0, 5}, .failing = -1};
    run(&k, 7, 6);
}

static void test_diverged(void **state) {
    (void)state;
    struct known k = {.end = {NAN, INFINITY, 3, -INFINITY, 4}, .failing = -1};
    struct machine machine = {.world = world};
    double scores[N] = {0};
    int best = -1;
    struct halving h = {.n = 5, .budget = 1, .score = score, .context = &k, .scores = scores};
    assert_null(halving_run(&machine, &h, &best));
    check(best == 2);
}

static void test_all_at_once(void **state) {
    (void)state;
    struct known k = {.end = {5, 4, 3, 2, 1, 6, 7}, .start = {1, 1, 1, 1, 1, 1, 1}, .failing = -1};
    struct machine machine = {.world = world};
    double scores[N] = {0};
    struct halving h = {.n = N, .budget = 4, .score = score, .context = &k, .scores = scores};
    assert_null(halving_score_all(&machine, &h));
    bool right = true;
    for (int i = 0; i < N; i++) right = right && scores[i] == k.end[i] + 0.25;
    check(right);
}

/* One group fails: all ranks end with its error. */
static void test_failing(void **state) {
    (void)state;
    for (int failing = 0; failing < N; failing++) {
        struct known k = {.end = {5, 4, 3, 2, 1, 6, 7}, .failing = failing};
        struct machine machine = {.world = world};
        double scores[N] = {0};
        int best = -1;
        char text[32];
        struct halving h = {.n = N, .budget = 1, .score = score, .context = &k, .scores = scores};
        status error = halving_run(&machine, &h, &best);
        snprintf(text, sizeof text, "candidate %d", failing);
        check(status_code(error) == STATUS_DATA && strstr(status_message(error), text));
        status_drop(&error);
    }
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_is_left), cmocka_unit_test(test_late_one_wins),
        cmocka_unit_test(test_diverged),     cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_failing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}

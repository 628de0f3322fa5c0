/* Communication: agreement, sums, broadcast, shared windows. Run on 1, 2, 3 and 4 ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/comm.h"

static struct comm *world;

static void all_true(bool mine) {
    bool any_false = false;
    status error = comm_any(world, !mine, &any_false);
    assert_null(error);
    assert_false(any_false);
}

static void agreement_without_error(void **state) {
    (void)state;
    status error = comm_agree(world, SUCCESS);
    all_true(error == SUCCESS);
}

static void agreement_names_each_failing_rank(void **state) {
    (void)state;
    for (int r = 0; r < comm_size(world); r++) {
        status error = comm_agree(
            world, comm_rank(world) == r ? status_fail(STATUS_DATA, "weight \"k\" is NaN") : SUCCESS);
        char expected[64];
        if (r) snprintf(expected, sizeof expected, "rank %d: weight \"k\" is NaN", r);
        else snprintf(expected, sizeof expected, "weight \"k\" is NaN");
        all_true(status_code(error) == STATUS_DATA && !strcmp(status_message(error), expected));
        status_drop(&error);
    }
}

static void agreement_takes_the_lowest_of_several(void **state) {
    (void)state;
    status error = comm_agree(
        world, status_fail(comm_rank(world) ? STATUS_IO : STATUS_USAGE, "from %d", comm_rank(world)));
    all_true(status_code(error) == STATUS_USAGE && !strcmp(status_message(error), "from 0"));
    status_drop(&error);
}

static void sums(void **state) {
    (void)state;
    int n = comm_size(world), r = comm_rank(world);
    double d[3] = {r, 1, -r};
    float f[2] = {(float)r, 2};
    int64_t i[1] = {r};
    double m[1] = {r};
    assert_null(comm_sum_f64(world, d, 3));
    assert_null(comm_sum_f32(world, f, 2));
    assert_null(comm_sum_i64(world, i, 1));
    assert_null(comm_max_f64(world, m, 1));
    int s = n * (n - 1) / 2;
    all_true(d[0] == s && d[1] == n && d[2] == -s && f[0] == (float)s && f[1] == (float)(2 * n) &&
             i[0] == s && m[0] == n - 1);
}

static void sums_in_the_background(void **state) {
    (void)state;
    enum { BUCKETS = 5, N = 1000 };
    float *data = malloc(BUCKETS * N * sizeof *data);
    struct comm_sum *sum[BUCKETS];
    for (int k = 0; k < BUCKETS * N; k++) data[k] = (float)(comm_rank(world) + k);
    for (int b = 0; b < BUCKETS; b++) {
        assert_null(comm_sum_f32_begin(world, data + b * N, N, &sum[b]));
        comm_sum_progress(sum[b]);
    }
    bool right = true;
    int n = comm_size(world);
    for (int b = 0; b < BUCKETS; b++) assert_null(comm_sum_end(&sum[b]));
    for (int k = 0; k < BUCKETS * N; k++) right = right && data[k] == (float)(n * (n - 1) / 2 + n * k);
    free(data);
    all_true(right);
}

static void broadcast(void **state) {
    (void)state;
    char *copy = NULL;
    int root = comm_size(world) - 1;
    assert_null(comm_bcast_text(world, root, comm_rank(world) == root ? "plan 1\n" : NULL, &copy));
    all_true(!strcmp(copy, "plan 1\n"));
    free(copy);
}

static void ring(void **state) {
    (void)state;
    int n = comm_size(world), r = comm_rank(world);
    int got = -1;
    if (n > 1) {
        if (r == 0) {
            assert_null(comm_send(world, 1, 7, &r, sizeof r));
            assert_null(comm_recv(world, n - 1, 7, &got, sizeof got));
        } else {
            assert_null(comm_recv(world, r - 1, 7, &got, sizeof got));
            assert_null(comm_send(world, (r + 1) % n, 7, &r, sizeof r));
        }
    }
    all_true(n == 1 || got == (r + n - 1) % n);
}

static void window_is_shared(void **state) {
    (void)state;
    struct comm *node = NULL;
    assert_null(comm_split_node(world, &node));
    int32_t *data = NULL;
    struct comm_window *window = NULL;
    size_t n = 1000;
    assert_null(comm_window_create(node, n * sizeof *data, (void **)&data, &window));
    if (comm_is_root(node))
        for (size_t i = 0; i < n; i++) data[i] = (int32_t)(3 * i + 1);
    assert_null(comm_window_sync(window));
    bool right = true;
    for (size_t i = 0; i < n; i++) right = right && data[i] == (int32_t)(3 * i + 1);
    all_true(right);
    comm_window_destroy(&window);
    comm_destroy(&node);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreement_without_error),
        cmocka_unit_test(agreement_names_each_failing_rank),
        cmocka_unit_test(agreement_takes_the_lowest_of_several),
        cmocka_unit_test(sums),
        cmocka_unit_test(sums_in_the_background),
        cmocka_unit_test(broadcast),
        cmocka_unit_test(ring),
        cmocka_unit_test(window_is_shared),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}

/* What each rank did with its time: the table, the efficiency, and gathering on 1, 2 and 3 ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/trace_report.h"

static struct comm *world;

static void test_table(void **state) {
    (void)state;
    const struct trace_totals all[] = {{.compute = 6, .wait = 1, .communication = 1, .events = 9},
                                       {.compute = 2, .wait = 5, .communication = 1, .dropped = 3}};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    trace_report_print(out, 2, all);
    fclose(out);
    assert_string_equal(text, "rank            computes, s           waits, s    communicates, s\n"
                              "0              6.00  75.0 %       1.00  12.5 %       1.00  12.5 %\n"
                              "1              2.00  25.0 %       5.00  62.5 %       1.00  12.5 %\n"
                              "mean over longest of computing: 66.7 %\n"
                              "3 spans had no room in the trace\n");
    free(text);
}

static void test_efficiency(void **state) {
    (void)state;
    const struct trace_totals even[] = {{.compute = 2}, {.compute = 2}},
                              one[] = {{.compute = 3}, {.wait = 3}, {.wait = 3}, {.wait = 3}},
                              none[] = {{.wait = 1}};
    assert_true(trace_report_efficiency(2, even) == 1);
    assert_true(trace_report_efficiency(4, one) == 0.25);
    assert_true(trace_report_efficiency(1, none) == 1);
}

static void test_gather(void **state) {
    (void)state;
    int rank = comm_rank(world), n = comm_size(world);
    bool right = true, any_wrong = true;
    const struct trace_totals mine = {.compute = rank + 0.5,
                                      .wait = 2 * rank,
                                      .communication = 3 * rank,
                                      .events = INT64_C(4000000000) + rank,
                                      .dropped = rank};
    struct trace_totals *all = calloc((size_t)n, sizeof *all);
    status error = trace_report_gather(world, &mine, all);
    for (int r = 0; r < n; r++)
        right = right && all[r].compute == r + 0.5 && all[r].wait == 2 * r && all[r].communication == 3 * r &&
                all[r].events == INT64_C(4000000000) + r && all[r].dropped == r;
    free(all);
    assert_null(error);
    assert_null(comm_any(world, !right, &any_wrong));
    assert_false(any_wrong);
}

int main(int argc, char **argv) {
    if (comm_start(&argc, &argv, &world)) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_efficiency),
        cmocka_unit_test(test_gather),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}

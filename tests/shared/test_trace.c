/* Traces: what is kept, and that every second counts once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "shared/trace.h"

/* Seconds here are small whole numbers, so that sums are exact. */
static void events_are_kept(void **state) {
    (void)state;
    struct trace *trace = NULL;
    assert_null(trace_create(true, &trace));
    trace_add(trace, TRACE_COMPUTE, "forward", -1, 7, 1, 3);
    trace_add(trace, TRACE_COMMUNICATION, "all-reduce", 4, -1, 3, 4);
    assert_int_equal(trace_count(trace), 2);
    const struct trace_event *e = trace_at(trace, 0);
    assert_true(e->kind == TRACE_COMPUTE && e->begin == 1 && e->end == 3 && e->slice == -1 && e->step == 7);
    assert_string_equal(e->name, "forward");
    e = trace_at(trace, 1);
    assert_true(e->kind == TRACE_COMMUNICATION && e->slice == 4 && e->step == -1);
    trace_destroy(&trace);
    assert_null(trace);
}

static void totals_without_events(void **state) {
    (void)state;
    struct trace *trace = NULL;
    assert_null(trace_create(false, &trace));
    trace_add(trace, TRACE_COMPUTE, "a", -1, -1, 0, 2);
    trace_add(trace, TRACE_WAIT, "b", -1, -1, 2, 5);
    trace_add(trace, TRACE_COMMUNICATION, "c", -1, -1, 5, 9);
    struct trace_totals t = trace_totals(trace);
    assert_true(t.compute == 2 && t.wait == 3 && t.communication == 4);
    assert_int_equal(t.events, 3);
    assert_int_equal(t.dropped, 0);
    assert_int_equal(trace_count(trace), 0);
    trace_reset_totals(trace);
    t = trace_totals(trace);
    assert_true(t.compute == 0 && t.wait == 0 && t.communication == 0 && t.events == 0);
    trace_destroy(&trace);
}

/* 0..20 computing, in it 2..5 waiting and 6..16 of which 7..9 communicates; then 21..22 beside it. */
static void nested_seconds_count_once(void **state) {
    (void)state;
    struct trace *trace = NULL;
    assert_null(trace_create(true, &trace));
    trace_add(trace, TRACE_WAIT, "barrier", -1, -1, 2, 5);
    trace_add(trace, TRACE_COMMUNICATION, "all-reduce", -1, -1, 7, 9);
    trace_add(trace, TRACE_COMPUTE, "solve", -1, -1, 6, 16);
    trace_add(trace, TRACE_COMPUTE, "layer", -1, -1, 0, 20);
    trace_add(trace, TRACE_COMPUTE, "beside", -1, -1, 21, 22);
    struct trace_totals t = trace_totals(trace);
    assert_true(t.wait == 3 && t.communication == 2);
    assert_true(t.compute == 20 - 3 - 2 + 1);
    trace_destroy(&trace);
}

/* More spans inside one than are remembered one by one. */
static void many_inside_one(void **state) {
    (void)state;
    struct trace *trace = NULL;
    const int n = 10000;
    assert_null(trace_create(false, &trace));
    for (int i = 0; i < n; i++) trace_add(trace, TRACE_WAIT, "w", -1, -1, 1 + 2 * i, 2 + 2 * i);
    trace_add(trace, TRACE_COMPUTE, "c", -1, -1, 0, 2 * n + 1);
    struct trace_totals t = trace_totals(trace);
    assert_true(t.wait == n && t.compute == n + 1);
    trace_destroy(&trace);
}

static void memory_is_bounded(void **state) {
    (void)state;
    struct trace *trace = NULL;
    assert_null(trace_create(true, &trace));
    for (int i = 0; i < TRACE_EVENTS_MAX + 5; i++) trace_add(trace, TRACE_WAIT, "w", -1, i, i, i + 1);
    struct trace_totals t = trace_totals(trace);
    assert_int_equal(trace_count(trace), TRACE_EVENTS_MAX);
    assert_int_equal(t.events, TRACE_EVENTS_MAX + 5);
    assert_int_equal(t.dropped, 5);
    trace_reset_totals(trace);
    assert_int_equal(trace_totals(trace).dropped, 0);
    assert_int_equal(trace_dropped(trace), 5);
    assert_true(t.wait == TRACE_EVENTS_MAX + 5);
    assert_int_equal(trace_at(trace, TRACE_EVENTS_MAX - 1)->step, TRACE_EVENTS_MAX - 1);
    trace_destroy(&trace);
}

static void no_trace_is_fine(void **state) {
    (void)state;
    struct trace *none = NULL;
    trace_add(NULL, TRACE_WAIT, "w", -1, -1, 0, 1);
    trace_reset_totals(NULL);
    assert_int_equal(trace_count(NULL), 0);
    assert_int_equal(trace_totals(NULL).events, 0);
    trace_destroy(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_kept),           cmocka_unit_test(totals_without_events),
        cmocka_unit_test(nested_seconds_count_once), cmocka_unit_test(many_inside_one),
        cmocka_unit_test(memory_is_bounded),         cmocka_unit_test(no_trace_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

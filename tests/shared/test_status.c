#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shared/status.h"

static status tried(status inner, int *after) {
    STATUS_TRY(inner);
    ++*after;
    return SUCCESS;
}

static status cleaned(status inner, int *cleanups) {
    status error;
    STATUS_GOTO(error, cleanup, inner);
cleanup:
    ++*cleanups;
    return error;
}

static void test_success_is_null(void **state) {
    (void)state;
    status none = SUCCESS;
    assert_int_equal(status_code(none), STATUS_OK);
    assert_string_equal(status_message(none), "");
    assert_null(status_context(none, "context"));
    assert_null(status_recode(none, STATUS_IO));
    status_drop(&none);
}

static void test_message_is_one_line(void **state) {
    (void)state;
    status error = status_fail(STATUS_DATA, "file \"%s\": %d\nbad\r\nlines", "a.h5", 3);
    assert_int_equal(status_code(error), STATUS_DATA);
    assert_string_equal(status_message(error), "file \"a.h5\": 3 bad  lines");
    error = status_context(error, "slice %d", 2);
    assert_string_equal(status_message(error), "slice 2: file \"a.h5\": 3 bad  lines");
    error = status_recode(error, STATUS_IO);
    assert_int_equal(status_code(error), STATUS_IO);
    status_drop(&error);
    assert_null(error);
}

static void test_exit_codes(void **state) {
    (void)state;
    assert_int_equal(status_exit_code(STATUS_OK), 0);
    assert_int_equal(status_exit_code(STATUS_USAGE), 2);
    assert_int_equal(status_exit_code(STATUS_DATA), 65);
    assert_int_equal(status_exit_code(STATUS_UNSUPPORTED), 69);
    assert_int_equal(status_exit_code(STATUS_INTERNAL), 70);
    assert_int_equal(status_exit_code(STATUS_IO), 74);
    assert_int_equal(status_exit_code(STATUS_CHECKPOINTED), 75);
    assert_int_equal(status_exit_code(STATUS_SILENT), 76);
    assert_string_equal(status_meaning(STATUS_MEMORY), "out of memory");
}

static void test_propagation(void **state) {
    (void)state;
    int after = 0, cleanups = 0;
    status error = tried(status_fail(STATUS_IO, "first"), &after);
    assert_int_equal(after, 0);
    assert_string_equal(status_message(error), "first");
    assert_null(tried(SUCCESS, &after));
    assert_int_equal(after, 1);
    error = status_first(error, cleaned(status_fail(STATUS_DATA, "second"), &cleanups));
    assert_string_equal(status_message(error), "first");
    status_drop(&error);
    error = status_first(SUCCESS, status_fail(STATUS_DATA, "only"));
    assert_string_equal(status_message(error), "only");
    status_drop(&error);
    assert_null(cleaned(SUCCESS, &cleanups));
    assert_int_equal(cleanups, 2);
}

static void test_memory(void **state) {
    (void)state;
    status error = status_no_memory("activations", 3u << 20);
    assert_int_equal(status_code(error), STATUS_MEMORY);
    assert_non_null(strstr(status_message(error), "activations (3.0 MiB)"));
    status_drop(&error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success_is_null), cmocka_unit_test(test_message_is_one_line),
        cmocka_unit_test(test_exit_codes),      cmocka_unit_test(test_propagation),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SIGTERM sets a flag, and only while it is caught. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "shared/interrupt.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_flag(void **state) {
    (void)state;
    assert_false(interrupt_requested());
    interrupt_catch();
    assert_false(interrupt_requested());
    interrupt_catch(); /* and once more, for a part of it */
    raise(SIGTERM);
    assert_true(interrupt_requested());
    interrupt_release();
    assert_true(interrupt_requested());
    raise(SIGTERM);
    interrupt_release();
    assert_false(interrupt_requested());
    pid_t child = fork();
    if (child == 0) {
        raise(SIGTERM);
        _exit(0);
    }
    int code = 0;
    waitpid(child, &code, 0);
    assert_true(WIFSIGNALED(code) && WTERMSIG(code) == SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_flag)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

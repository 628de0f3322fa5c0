/* The log: who prints what, progress on a terminal and elsewhere, events to the listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "shared/log.h"

static double now_s;
static double fake_clock(void) {
    return now_s;
}

/* Standard error goes to a pipe between begin and end; end returns what was written. */
static int saved, pipe_end[2];
static char captured[8192];

static void capture_begin(void) {
    assert_int_equal(pipe2(pipe_end, O_NONBLOCK), 0);
    saved = dup(STDERR_FILENO);
    dup2(pipe_end[1], STDERR_FILENO);
}

static const char *capture_end(void) {
    ssize_t n = read(pipe_end[0], captured, sizeof captured - 1);
    captured[n > 0 ? n : 0] = '\0';
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_end[0]);
    close(pipe_end[1]);
    return captured;
}

static struct log *make(int rank, enum log_level level) {
    struct log *log = NULL;
    assert_null(log_create(rank, level, &log));
    log_set_clock(log, fake_clock);
    return log;
}

static void every_level(int rank, enum log_level level) {
    struct log *log = make(rank, level);
    log_line(log, LOG_ERROR, "e%d", 1);
    log_line(log, LOG_WARN, "w");
    log_line(log, LOG_INFO, "i");
    log_line(log, LOG_DEBUG, "d");
    log_destroy(&log);
    assert_null(log);
}

static void test_levels(void **state) {
    (void)state;
    capture_begin();
    every_level(0, LOG_INFO);
    assert_string_equal(capture_end(), "godwit: e1\ngodwit: warning: w\ni\n");
    capture_begin();
    every_level(0, LOG_ERROR);
    assert_string_equal(capture_end(), "godwit: e1\n");
    capture_begin();
    every_level(2, LOG_DEBUG);
    assert_string_equal(capture_end(), "godwit: rank 2: e1\ngodwit: warning: rank 2: w\ndebug: rank 2: d\n");

    enum log_level level = LOG_ERROR;
    assert_null(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    status error = log_level_parse("loud", &level);
    assert_int_equal(status_code(error), STATUS_USAGE);
    assert_string_equal(status_message(error),
                        "log level \"loud\" is unknown; use error, warn, info or debug");
    status_drop(&error);
}

static void test_progress_plain(void **state) {
    (void)state;
    struct log *log;
    now_s = 100;
    capture_begin();
    log = make(0, LOG_INFO);
    log_progress_begin(log, "refit", "samples", 4000);
    for (int i = 1; i <= 25; i++) { /* 100 samples a second */
        now_s = 100 + i;
        log_progress(log, 100.0 * i, i == 20 ? "residual 0.1" : NULL);
    }
    log_progress_end(log);
    assert_string_equal(capture_end(),
                        "refit: 1000/4000 samples (25 %), 100 samples/s, 30.0 s left\n"
                        "refit: 2000/4000 samples (50 %), 100 samples/s, 20.0 s left, residual 0.1\n"
                        "refit: 2500 samples in 25.0 s, 100 samples/s\n");
    log_destroy(&log);

    capture_begin(); /* other ranks and lower levels are silent; an unknown total has no percentage */
    log = make(1, LOG_DEBUG);
    log_progress_begin(log, "a", "b", 1);
    log_progress_end(log);
    log_destroy(&log);
    log = make(0, LOG_WARN);
    log_progress_begin(log, "a", "b", 1);
    log_progress_end(log);
    log_destroy(&log);
    log = make(0, LOG_INFO);
    log_progress_begin(log, "read", "MiB", 0);
    now_s += 100;
    log_progress(log, 12.5, NULL);
    log_destroy(&log); /* ends it */
    assert_string_equal(capture_end(),
                        "read: 12.5 MiB, 0.12 MiB/s\nread: 12.5 MiB in 1 min 40 s, 0.12 MiB/s\n");
}

static void test_progress_terminal(void **state) {
    (void)state;
    int main_end = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (main_end < 0 || grantpt(main_end) || unlockpt(main_end)) skip();
    int terminal = open(ptsname(main_end), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = 30};
    ioctl(terminal, TIOCSWINSZ, &size);
    saved = dup(STDERR_FILENO);
    dup2(terminal, STDERR_FILENO);

    now_s = 0;
    struct log *log = make(0, LOG_INFO);
    log_progress_begin(log, "refit", "x", 10);
    now_s = 0.05;
    log_progress(log, 1, NULL); /* too soon to redraw */
    now_s = 1;
    log_progress(log, 5, "a note that is too long for the line");
    log_line(log, LOG_INFO, "hello");
    log_progress_end(log);
    log_destroy(&log);

    dup2(saved, STDERR_FILENO);
    close(saved);
    const char *expected = "\rrefit: 0/10 x (0 %)\033[K"
                           "\rrefit: 5/10 x (50 %), 5.00 x/\033[K"
                           "\r\033[Khello\r\n"
                           "\rrefit: 5/10 x (50 %), 5.00 x/\033[K"
                           "\r\033[Krefit: 5 x in 1.0 s, 5.00 x/s, a note that is too long for the line\r\n";
    size_t used = 0; /* a terminal passes on what was written a little later, in pieces */
    while (used < strlen(expected)) {
        struct pollfd wait = {.fd = main_end, .events = POLLIN};
        if (poll(&wait, 1, 10000) <= 0) break;
        ssize_t n = read(main_end, captured + used, sizeof captured - 1 - used);
        if (n <= 0) break;
        used += (size_t)n;
    }
    captured[used] = '\0';
    close(terminal);
    close(main_end);
    assert_string_equal(captured, expected);
}

struct heard {
    int n;
    char text[512];
};

static void hear(void *data, int rank, const char *phase, const char *event, const struct log_figure *figures,
                 int n) {
    struct heard *heard = data;
    heard->n++;
    size_t used = strlen(heard->text);
    used += (size_t)snprintf(heard->text + used, sizeof heard->text - used, "%d %s %s", rank, phase, event);
    for (int i = 0; i < n; i++) {
        size_t room = sizeof heard->text - used;
        used +=
            (size_t)(figures[i].text
                         ? snprintf(heard->text + used, room, " %s=%s", figures[i].name, figures[i].text)
                         : snprintf(heard->text + used, room, " %s=%g", figures[i].name, figures[i].number));
    }
    snprintf(heard->text + used, sizeof heard->text - used, "|");
}

/* Groups of ranks: each one's first rank prints, and every line says whose it is. */
static void test_branch(void **state) {
    (void)state;
    struct log *log = make(3, LOG_INFO), *first = NULL, *second = NULL;
    assert_null(log_branch(log, 0, "half", false, &first));
    assert_null(log_branch(log, 1, "half", false, &second));
    now_s = 100;
    capture_begin();
    log_line(log, LOG_INFO, "not by rank 3");
    log_line(first, LOG_INFO, "i");
    log_line(first, LOG_WARN, "w");
    log_line(first, LOG_DEBUG, "d");
    log_line(second, LOG_INFO, "i");
    log_line(second, LOG_WARN, "w");
    log_progress_begin(first, "refit", "layers", 10);
    log_progress_begin(second, "refit", "layers", 10);
    now_s = 111;
    log_progress(first, 5, NULL);
    log_progress(second, 5, NULL);
    log_destroy(&first);
    log_destroy(&second);
    log_destroy(&log);
    assert_string_equal(capture_end(), "half: i\n"
                                       "godwit: warning: half: w\n"
                                       "godwit: warning: half: rank 1: w\n"
                                       "half: refit: 5/10 layers (50 %), 0.45 layers/s, 11.0 s left\n"
                                       "half: refit: 5 layers in 11.0 s, 0.45 layers/s\n");
}

static void test_listener(void **state) {
    (void)state;
    struct heard heard = {0};
    struct log *log = make(1, LOG_ERROR);
    log_event(log, "unheard", NULL, 0);
    log_listen(log, hear, &heard);
    log_phase(log, "refit");
    assert_string_equal(log_current_phase(log), "refit");
    LOG_EVENT(log, "layer", {"name", 0, "conv2d"}, {"residual", 0.25, NULL});
    log_line(log, LOG_WARN, "flat %d", 3); /* heard though not printed */
    log_line(log, LOG_INFO, "not heard");
    log_listen(log, NULL, NULL);
    log_event(log, "unheard", NULL, 0);
    log_destroy(&log);
    assert_int_equal(heard.n, 2);
    assert_string_equal(heard.text,
                        "1 refit layer name=conv2d residual=0.25|1 refit warning message=flat 3|");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_progress_plain),
        cmocka_unit_test(test_progress_terminal),
        cmocka_unit_test(test_branch),
        cmocka_unit_test(test_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

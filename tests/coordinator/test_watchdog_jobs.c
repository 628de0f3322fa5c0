/* Migrations of which one rank is stopped or killed: they end in time, with one line, and nothing
 * half-written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/job_process.h"
#include "coordinator/jobs_testing.h"

#include "io/digest.h"
#include "shared/comm.h"

#include <glob.h>

#define LIMIT "--set watchdog_s=1 "
#define IN_TIME_S 11.0 /* the limit and ten seconds */

/* Waits until some rank is in this phase of the job whose runs are in the folder. */
static void wait_for_phase(const char *runs, const char *phase) {
    static char text[1 << 18];
    char pattern[512], wanted[64];
    snprintf(pattern, sizeof pattern, "%s/*/run.jsonl", in_folder(runs));
    snprintf(wanted, sizeof wanted, "\"phase\":\"%s\"", phase);
    for (int i = 0; i < 30000; i++, sleep_ms(1)) {
        glob_t found;
        text[0] = 0;
        if (!glob(pattern, 0, NULL, &found)) read_into(found.gl_pathv[0], text, sizeof text);
        globfree(&found);
        if (strstr(text, wanted)) return;
    }
    fail_msg("no %s", wanted);
}

static pid_t the_rank(pid_t mpirun, int rank) {
    pid_t pid = rank_of(mpirun, rank);
    if (pid <= 0) fail_msg("no rank %d", rank);
    return pid;
}

/* Waits for the end of a job of which a rank was stopped; fails if it outlives it. */
static double end_of_stopped(pid_t mpirun, pid_t stopped, int *code) {
    double begin = comm_time();
    *code = 0;
    while (waitpid(mpirun, code, WNOHANG) == 0 && comm_time() - begin < 3 * IN_TIME_S) sleep_ms(10);
    double seconds = comm_time() - begin;
    bool hangs = seconds >= 3 * IN_TIME_S;
    for (int i = 0; i < 200 && kill(stopped, 0) == 0; i++) sleep_ms(10);
    bool left = kill(stopped, 0) == 0;
    if (left) kill(stopped, SIGKILL);
    if (hangs) {
        kill(-mpirun, SIGKILL);
        waitpid(mpirun, code, 0);
    }
    read_into(in_folder("err.txt"), err, sizeof err);
    if (hangs || left) fail_msg("the job hangs or leaves a rank behind: %s", err);
    *code = WIFEXITED(*code) ? WEXITSTATUS(*code) : -WTERMSIG(*code);
    return seconds;
}

static void is_told(int code, double seconds, int rank, const char *phases) {
    char line[2048], wanted[128], phase[64] = "";
    int lines = error_lines(line, sizeof line);
    snprintf(wanted, sizeof wanted, "godwit: rank %d has not answered for ", rank);
    const char *open = strchr(line, '(');
    if (open) snprintf(phase, sizeof phase, "%.*s", (int)strcspn(open + 1, ")"), open + 1);
    if (code != 76 || lines != 1 || strncmp(line, wanted, strlen(wanted)) != 0 || !*phase ||
        !strstr(phases, phase))
        fail_msg("exit code %d, %d lines, rank %d in %s:\n%s", code, lines, rank, phases, err);
    if (seconds > IN_TIME_S) fail_msg("%.1f s: %s", seconds, line);
}

/* Stops a rank `after_ms` into a phase. */
static void stop_in(int ranks, int rank, const char *phase, long after_ms, const char *phases) {
    char arguments[512], runs[32];
    static int n;
    int code;
    snprintf(runs, sizeof runs, "w%d", n++);
    snprintf(arguments, sizeof arguments,
             "migrate.json " LIMIT "--set training.epochs=100000 --set models=stopped --set runs=%s", runs);
    pid_t job = start(ranks, arguments);
    wait_for_phase(runs, phase);
    sleep_ms(after_ms);
    pid_t pid = the_rank(job, rank);
    kill(pid, SIGSTOP);
    double seconds = end_of_stopped(job, pid, &code);
    is_told(code, seconds, rank, phases);
    assert_int_equal(versions("stopped"), 0);
}

static void test_stopped_in_training(void **state) {
    (void)state;
    for (int rank = 0; rank < 3; rank++) stop_in(3, rank, "fine-tune", 50 + 130 * rank, "fine-tune");
    stop_in(2, 0, "fine-tune", 200, "fine-tune");
    stop_in(2, 1, "fine-tune", 77, "fine-tune");
}

/* The phase is short: it may be the next one. */
static void test_stopped_in_refit(void **state) {
    (void)state;
    for (int rank = 0; rank < 2; rank++) stop_in(2, rank, "refit", 0, "refit evaluate fine-tune");
    stop_in(4, 3, "select", 0, "select migrate refit evaluate fine-tune");
}

static void same_bytes(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    assert_success(file_digest(in_folder(a), &x));
    assert_success(file_digest(in_folder(b), &y));
    assert_string_equal(x, y);
    free(x);
    free(y);
}

/* And then it goes on where it was. */
static void test_stopped_while_streaming(void **state) {
    (void)state;
    write_large();
    succeeds(run(2, GODWIT_PROGRAM " migrate large.json " LIMIT "--set output=whole.h5"), "migrate");
    for (int rank = 0; rank < 2; rank++) {
        int code;
        pid_t job = start(2, "large.json " LIMIT);
        wait_for_lines(300 + 400 * rank);
        pid_t pid = the_rank(job, rank);
        kill(pid, SIGSTOP);
        double seconds = end_of_stopped(job, pid, &code);
        is_told(code, seconds, rank, "migrate");
        assert_false(exists("made.h5"));
        succeeds(run(2, GODWIT_PROGRAM " migrate large.json " LIMIT), "migrate");
        assert_non_null(strstr(err, "resumed: "));
        same_bytes("made.h5", "whole.h5");
        assert_int_equal(unlink(in_folder("made.h5")), 0);
    }
}

/* mpirun ends the job itself; no rank has a word to say about it. */
static void test_killed_at_any_moment(void **state) {
    (void)state;
    static const char *const phases[] = {"prepare", "compile", "select", "refit", "fine-tune"};
    char arguments[256], runs[32], line[2048];
    for (int i = 0; i < 9; i++) { /* every rank of 2, 3 and 4 */
        int ranks = i < 2 ? 2 : i < 5 ? 3 : 4, rank = i - (ranks == 2 ? 0 : ranks == 3 ? 2 : 5), code;
        snprintf(runs, sizeof runs, "k%d", i);
        snprintf(arguments, sizeof arguments,
                 "migrate.json --set training.epochs=100000 --set models=killed --set runs=%s", runs);
        pid_t job = start(ranks, arguments);
        wait_for_phase(runs, phases[i % 5]);
        sleep_ms(13 * i);
        pid_t pid = the_rank(job, rank);
        kill(pid, SIGKILL);
        double seconds = end_of_stopped(job, pid, &code);
        if (code == 0 || error_lines(line, sizeof line) || seconds > 10)
            fail_msg("rank %d of %d: exit code %d after %.1f s:\n%s", rank, ranks, code, seconds, err);
        assert_int_equal(versions("killed"), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped_in_training),
        cmocka_unit_test(test_stopped_in_refit),
        cmocka_unit_test(test_stopped_while_streaming),
        cmocka_unit_test(test_killed_at_any_moment),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

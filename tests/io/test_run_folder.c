/* The run folder on 1, 2 and 3 ranks: every rank's events, whole lines, metrics, failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "io/file.h"
#include "io/run_folder.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS 200

static struct comm *world;
static char root[64];

/* Asserts on every rank that all ranks found `mine` true. */
static void all_true(bool mine) {
    bool any_false = true;
    status error = comm_any(world, !mine, &any_false);
    assert_null(error);
    assert_false(any_false);
}

static int setup(void **state) {
    (void)state;
    strcpy(root, "/tmp/godwit-runs-XXXXXX");
    if (comm_is_root(world) && !mkdtemp(root)) return -1;
    status error = comm_bcast(world, 0, root, sizeof root);
    return error != SUCCESS;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    status error = comm_barrier(world);
    return error || (comm_is_root(world) && system(command));
}

static char *read_file(const char *folder, const char *name) {
    char path[512], *text = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    status error = file_read_text(path, 1 << 24, &text);
    status_drop(&error);
    return text ? text : strdup("");
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static void test_events(void **state) {
    (void)state;
    struct log *log = NULL;
    struct run_folder *folder = NULL;
    char runs[96], path[512];
    int rank = comm_rank(world), size = comm_size(world);
    snprintf(runs, sizeof runs, "%s/deep/runs", root);
    status error = log_create(rank, LOG_ERROR, &log);
    if (!error) error = run_folder_create(runs, "net", "{\"seed\": 1}", world, log, &folder);
    all_true(error == SUCCESS);
    snprintf(path, sizeof path, "%s", run_folder_path(folder));
    all_true(strncmp(path, runs, strlen(runs)) == 0 && strncmp(path + strlen(runs), "/net-", 5) == 0);

    log_phase(log, "refit");
    for (int i = 0; i < EVENTS; i++)
        LOG_EVENT(log, "layer", {"index", i, NULL}, {"name", 0, "a \"quoted\"\nname"},
                  {"residual", 0.1, NULL});
    log_phase(log, "train");
    LOG_EVENT(log, "epoch", {"epoch", 1, NULL}, {"accuracy", 0.5, NULL}, {"unlisted", 3, NULL},
              {"loss", NAN, NULL});
    LOG_EVENT(log, "epoch", {"epoch", 2, NULL}, {"rate", 1e-3, NULL});
    log_line(log, LOG_WARN, "careful");
    error = comm_is_root(world) ? run_folder_write(folder, "notes.txt", "hello") : SUCCESS;
    error = status_first(error, run_folder_close(&folder));
    log_event(log, "unheard", NULL, 0);
    log_destroy(&log);
    all_true(error == SUCCESS && folder == NULL);
    error = comm_barrier(world);
    all_true(error == SUCCESS);

    char *events = read_file(path, "run.jsonl"), *metrics = read_file(path, "metrics.csv");
    char *config = read_file(path, "config.json"), *notes = read_file(path, "notes.txt");
    bool good = count(events, "\n") == size * (EVENTS + 3) && count(events, "unheard") == 0;
    for (int r = 0; r < size; r++) {
        char text[256];
        snprintf(
            text, sizeof text,
            "Z\",\"rank\":%d,\"phase\":\"refit\",\"event\":\"layer\",\"figures\":{\"index\":%d,\"name\":\"a "
            "\\\"quoted\\\"\\nname\",\"residual\":0.1}}\n{\"time\":\"2",
            r, EVENTS - 1);
        good = good && count(events, text) == 1;
        snprintf(
            text, sizeof text,
            "\"rank\":%d,\"phase\":\"train\",\"event\":\"epoch\",\"figures\":{\"epoch\":1,\"accuracy\":0.5,"
            "\"unlisted\":3,\"loss\":\"nan\"}}\n",
            r);
        good = good && count(events, text) == 1;
        snprintf(
            text, sizeof text,
            "\"rank\":%d,\"phase\":\"train\",\"event\":\"warning\",\"figures\":{\"message\":\"careful\"}}\n",
            r);
        good = good && count(events, text) == 1;
    }
    all_true(good);
    const char *header =
        "time,phase,epoch,step,loss,accuracy,holdout_loss,holdout_accuracy,test_loss,test_accuracy,"
        "rate,gradient_norm,samples_per_s,seconds\n";
    all_true(strncmp(metrics, header, strlen(header)) == 0);
    all_true(count(metrics, "\n") == 3); /* rank 0 alone */
    all_true(count(metrics, "Z,train,1,,nan,0.5,,,,,,,,\n") == 1);
    all_true(count(metrics, "Z,train,2,,,,,,,,0.001,,,\n") == 1);
    all_true(strcmp(config, "{\"seed\": 1}") == 0 && strcmp(notes, "hello") == 0);
    free(events);
    free(metrics);
    free(config);
    free(notes);
}

/* Runs made in the same second get folders of their own. */
static void test_same_second(void **state) {
    (void)state;
    char first[512] = "";
    for (int i = 0; i < 3; i++) {
        struct log *log = NULL;
        struct run_folder *folder = NULL;
        status error = log_create(comm_rank(world), LOG_ERROR, &log);
        if (!error) error = run_folder_create(root, "", "{}", world, log, &folder);
        all_true(error == SUCCESS);
        all_true(strcmp(first, run_folder_path(folder)) != 0);
        all_true(strstr(run_folder_path(folder), "/run-") != NULL);
        snprintf(first, sizeof first, "%s", run_folder_path(folder));
        error = run_folder_close(&folder);
        log_destroy(&log);
        all_true(error == SUCCESS);
    }
}

/* Where the folder cannot be made, every rank has the same error and nothing listens. */
static void test_unwritable(void **state) {
    (void)state;
    struct log *log = NULL;
    struct run_folder *folder = NULL;
    char runs[96];
    snprintf(runs, sizeof runs, "%s/file/runs", root);
    status error = SUCCESS;
    if (comm_is_root(world)) {
        char path[96];
        snprintf(path, sizeof path, "%s/file", root);
        error = file_write_atomic(path, "x", 1);
    }
    error = status_first(error, log_create(comm_rank(world), LOG_ERROR, &log));
    all_true(error == SUCCESS);
    error = run_folder_create(runs, "net", "{}", world, log, &folder);
    all_true(status_code(error) == STATUS_IO && strstr(status_message(error), "/file") != NULL &&
             folder == NULL);
    status_drop(&error);
    log_event(log, "unheard", NULL, 0);
    log_destroy(&log);
    error = run_folder_close(&folder);
    all_true(error == SUCCESS);
}

/* A write that fails (as on a full disk: here by a limit on file sizes) is reported at the end, with the
 * folder. */
static void test_full(void **state) {
    (void)state;
    struct log *log = NULL;
    struct run_folder *folder = NULL;
    status error = log_create(comm_rank(world), LOG_ERROR, &log);
    if (!error) error = run_folder_create(root, "net", "{}", world, log, &folder);
    all_true(error == SUCCESS);
    struct rlimit given, small;
    getrlimit(RLIMIT_FSIZE, &given);
    small = given;
    small.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 50; i++) LOG_EVENT(log, "step", {"index", i, NULL});
    setrlimit(RLIMIT_FSIZE, &given);
    error = run_folder_close(&folder);
    log_destroy(&log);
    all_true(status_code(error) == STATUS_IO && strstr(status_message(error), "/net-") != NULL);
    status_drop(&error);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_second, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}

/* trace.json on 1, 2 and 3 ranks: all spans of all ranks, as JSON that cJSON reads; failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "io/file.h"
#include "io/trace_file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MANY 20000

static struct comm *world;
static char root[64];

static void all_true(bool mine) {
    bool any_false = true;
    status error = comm_any(world, !mine, &any_false);
    assert_null(error);
    assert_false(any_false);
}

static int setup(void **state) {
    (void)state;
    strcpy(root, "/tmp/godwit-trace-XXXXXX");
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

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(number) ? number->valuedouble : NAN;
}

/* The i-th span of rank r, in microseconds after the first of all: all whole numbers of milliseconds. */
static double begin_of(int r, int i) {
    return 1e3 * (2.0 * i + r);
}

static double duration_of(int r, int i) {
    return 1e3 * (1 + (i + r) % 2);
}

static void fill(struct trace *trace, int n, double start) {
    static const char *const names[] = {"forward", "all \"odd\\\nreduce", "gradient sum"};
    int r = comm_rank(world);
    for (int i = 0; i < n; i++) {
        double begin = start + 1e-6 * begin_of(r, i);
        trace_add(trace, (enum trace_kind)(i % 3), names[i % 3], i % 2 ? r : -1, i % 5 ? i : -1, begin,
                  begin + 1e-6 * duration_of(r, i));
    }
}

/* Clocks are the same here, so that offsets are what a few messages are wrong by; but the machine may be
 * busy. */
static bool event_is_right(const cJSON *e, int r, int i) {
    static const char *const kinds[] = {"compute", "wait", "communication"};
    static const char *const names[] = {"forward", "all oddreduce", "gradient sum"};
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(e, "args");
    double slice = number_of(args, "slice"), step = number_of(args, "step");
    return !strcmp(text_of(e, "name"), names[i % 3]) && !strcmp(text_of(e, "cat"), kinds[i % 3]) &&
           fabs(number_of(e, "ts") - begin_of(r, i)) < 20e3 && number_of(e, "ts") >= 0 &&
           fabs(number_of(e, "dur") - duration_of(r, i)) < 0.01 && (i % 2 ? slice == r : isnan(slice)) &&
           (i % 5 ? step == i : isnan(step));
}

/* Of one rank, times must be right to the digits that are written. */
static bool file_is_right(const char *path, int n) {
    char *text = NULL;
    int ranks = comm_size(world), *seen = calloc((size_t)ranks, sizeof *seen), processes = 0;
    double *first = calloc((size_t)ranks, sizeof *first);
    status error = file_read_text(path, (size_t)1 << 30, &text);
    cJSON *json = error ? NULL : cJSON_Parse(text);
    bool right = json != NULL;
    const cJSON *e;
    cJSON_ArrayForEach(e, cJSON_GetObjectItemCaseSensitive(json, "traceEvents")) {
        int r = (int)number_of(e, "pid");
        char name[32];
        snprintf(name, sizeof name, "rank %d", r);
        if (!strcmp(text_of(e, "name"), "process_name"))
            processes += !strcmp(text_of(cJSON_GetObjectItemCaseSensitive(e, "args"), "name"), name);
        if (strcmp(text_of(e, "ph"), "X") != 0 || r < 0 || r >= ranks) continue;
        if (seen[r] == 0) first[r] = number_of(e, "ts");
        right = right && event_is_right(e, r, seen[r]) &&
                fabs(number_of(e, "ts") - first[r] - (begin_of(r, seen[r]) - begin_of(r, 0))) < 0.01;
        seen[r]++;
    }
    for (int r = 0; r < ranks; r++) right = right && seen[r] == n;
    right = right && processes == ranks &&
            number_of(cJSON_GetObjectItemCaseSensitive(json, "otherData"), "dropped") == 0;
    cJSON_Delete(json);
    status_drop(&error);
    free(text);
    free(first);
    free(seen);
    return right;
}

static void write_and_read(int n) {
    struct trace *trace = NULL;
    char path[128];
    double start = comm_time();
    snprintf(path, sizeof path, "%s/trace.json", root);
    assert_null(comm_bcast(world, 0, &start, sizeof start));
    status error = trace_create(true, &trace);
    all_true(!error);
    fill(trace, n, start);
    error = trace_file_write(world, trace, path);
    all_true(!error);
    all_true(!comm_is_root(world) || file_is_right(path, n));
    trace_destroy(&trace);
}

static void a_few_spans(void **state) {
    (void)state;
    write_and_read(7);
}

static void many_spans(void **state) {
    (void)state;
    write_and_read(MANY);
}

static void no_spans(void **state) {
    (void)state;
    write_and_read(0);
}

/* One observer that adds to the trace while it is written does not disturb it. */
static void see(void *context, const char *operation, size_t nbytes, double begin, double end) {
    (void)nbytes;
    trace_add(context, TRACE_WAIT, operation, -1, -1, begin, end);
}

static void spans_come_in_meanwhile(void **state) {
    (void)state;
    struct trace *trace = NULL;
    char path[128], *text = NULL;
    snprintf(path, sizeof path, "%s/meanwhile.json", root);
    status error = trace_create(true, &trace);
    all_true(!error);
    fill(trace, 3000, comm_time());
    comm_observe(world, see, trace);
    error = trace_file_write(world, trace, path);
    comm_observe(world, NULL, NULL); /* not that of who sees them */
    assert_null(comm_barrier(world));
    int64_t during = trace_count(trace);
    comm_observe(world, NULL, trace);
    assert_null(comm_barrier(world));
    all_true(!error && trace_count(trace) == during && (comm_size(world) == 1 || during > 3000));
    error = comm_is_root(world) ? file_read_text(path, (size_t)1 << 30, &text) : SUCCESS;
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    int n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "traceEvents"));
    all_true(!error && (!comm_is_root(world) || n == comm_size(world) * (2 + 3000)));
    cJSON_Delete(json);
    free(text);
    trace_destroy(&trace);
}

static void failures_are_agreed(void **state) {
    (void)state;
    struct trace *trace = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/nowhere/trace.json", root);
    status error = trace_create(true, &trace);
    all_true(!error);
    fill(trace, 1000, comm_time());
    error = trace_file_write(world, trace, path);
    all_true(status_code(error) == STATUS_IO && strstr(status_message(error), "nowhere"));
    status_drop(&error);
    trace_destroy(&trace);
}

/* In the midst of it: rank 0's files end at 64 KiB. */
static void a_full_disk_is_agreed(void **state) {
    (void)state;
    struct trace *trace = NULL;
    char path[128];
    struct rlimit before, small;
    snprintf(path, sizeof path, "%s/full.json", root);
    status error = trace_create(true, &trace);
    all_true(!error);
    fill(trace, MANY, comm_time());
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = (rlim_t)64 << 10;
    if (comm_is_root(world)) setrlimit(RLIMIT_FSIZE, &small);
    error = trace_file_write(world, trace, path);
    setrlimit(RLIMIT_FSIZE, &before);
    all_true(status_code(error) == STATUS_IO && access(path, F_OK) != 0);
    status_drop(&error);
    trace_destroy(&trace);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_spans),
        cmocka_unit_test(many_spans),
        cmocka_unit_test(no_spans),
        cmocka_unit_test(spans_come_in_meanwhile),
        cmocka_unit_test(failures_are_agreed),
        cmocka_unit_test(a_full_disk_is_agreed),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    comm_stop(&world);
    return failed;
}

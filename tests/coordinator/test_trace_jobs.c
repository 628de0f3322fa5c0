/* Jobs that keep a trace: trace.json in the run folder, and the table of ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/jobs_testing.h"

#include <cjson/cJSON.h>
#include <glob.h>

#define EPOCHS 2
#define STEPS (240 / 16) /* of an epoch: the samples of jobs_testing.h in batches of migrate_config */

static char *trace_of(const char *runs) {
    static char text[1 << 22];
    char pattern[512];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*/trace.json", in_folder(runs));
    text[0] = 0;
    if (!glob(pattern, 0, NULL, &found)) read_into(found.gl_pathv[0], text, sizeof text);
    globfree(&found);
    return *text ? text : NULL;
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

/* Spans of a rank with this name. */
static int count_spans(const cJSON *json, int rank, const char *name) {
    int n = 0;
    const cJSON *e;
    cJSON_ArrayForEach(e, cJSON_GetObjectItemCaseSensitive(json, "traceEvents")) {
        const cJSON *pid = cJSON_GetObjectItemCaseSensitive(e, "pid");
        n += pid && pid->valueint == rank && !strcmp(text_of(e, "ph"), "X") &&
             !strcmp(text_of(e, "name"), name);
    }
    return n;
}

static cJSON *parsed(const char *runs) {
    char *text = trace_of(runs);
    if (!text) fail_msg("no trace in %s:\n%s", runs, err);
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    return json;
}

static void test_trace(void **state) {
    (void)state;
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --set trace=true --set models=t1 --set runs=tr1"),
             "migrate");
    assert_non_null(strstr(out, "computes, s"));
    assert_non_null(strstr(out, "\n1    "));
    assert_null(strstr(out, "\n2    "));
    assert_non_null(strstr(out, "mean over longest of computing: "));
    cJSON *json = parsed("tr1");
    for (int rank = 0; rank < 2; rank++) {
        assert_int_equal(count_spans(json, rank, "forward"), EPOCHS * STEPS);
        assert_int_equal(count_spans(json, rank, "backward"), EPOCHS * STEPS);
        assert_int_equal(count_spans(json, rank, "optimizer"), EPOCHS * STEPS);
        assert_int_equal(count_spans(json, rank, "refit layer"), 3); /* two convolutions and dense */
        assert_int_equal(count_spans(json, rank, "fine-tune"), 1);
        assert_true(count_spans(json, rank, "all-reduce") > EPOCHS * STEPS);
        assert_true(count_spans(json, rank, "agreement") > EPOCHS * STEPS);
    }
    assert_true(count_spans(json, 0, "evaluate") + count_spans(json, 1, "evaluate") > 6);
    assert_int_equal(count_spans(json, 2, "forward"), 0);
    cJSON_Delete(json);
}

static void test_no_trace(void **state) {
    (void)state;
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --set models=t2 --set runs=tr2"), "migrate");
    assert_null(trace_of("tr2"));
    assert_null(strstr(out, "computes, s"));
    /* What each rank did is an event all the same. */
    const char *events = run_file("tr2", "small", "run.jsonl");
    int n = 0;
    for (const char *at = events; (at = strstr(at, "\"compute_s\":")); at++) n++;
    assert_int_equal(n, 2);
    assert_true(figure(events, "compute_s") > 0);
}

/* A job that fails tells what it did until then. */
static void test_trace_of_failure(void **state) {
    (void)state;
    int code = run(2, GODWIT_PROGRAM
                   " migrate migrate.json --set data.path=nowhere --set trace=true --set models=t3 "
                   "--set runs=tr3");
    fails(code, 74, "nowhere");
    cJSON *json = parsed("tr3");
    assert_int_equal(count_spans(json, 0, "prepare"), 1);
    assert_int_equal(count_spans(json, 1, "prepare"), 1);
    assert_int_equal(count_spans(json, 1, "fine-tune"), 0);
    cJSON_Delete(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_no_trace),
        cmocka_unit_test(test_trace_of_failure),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

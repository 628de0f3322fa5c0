/* Every layer that TensorFlow.js knows, both ways: it makes models with other weights than those of
 * tests/data/layers, which are read and computed here; it loads what is written here, and computes the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/golden.h"
#include "io/io_testing.h"
#include "worker/layer_case.h"

#include <sys/stat.h>

#define MAX_FAILURES 40

static char *peers(void) {
    const char *folder = getenv("GODWIT_PEERS");
    return strdup(folder ? folder : GODWIT_SOURCE_DIR "/build/peers");
}

static int run_node(const char *script, const char *arguments) {
    char command[4096], *folder = peers();
    snprintf(command, sizeof command, "node '%s/tests/peer/%s' '%s' %s >'%s' 2>&1", GODWIT_SOURCE_DIR, script,
             folder, arguments, in_folder("log"));
    free(folder);
    int code = system(command);
    if (code) {
        snprintf(command, sizeof command, "tail -n 20 '%s'", in_folder("log"));
        code = system(command) ? 2 : 1;
    }
    return code;
}

struct comparison {
    struct layer_cases *cases;
    struct layer_case one;
    int n, failures;
};

static void failed(struct comparison *c, const char *name, const char *why) {
    if (c->failures++ < MAX_FAILURES) print_message("[  FAILED  ] %s: %s\n", name, why);
}

/* An answer is to one of the next cases. */
static void compare_answer(void *context, const struct layer_answer *answer) {
    struct comparison *c = context;
    c->n++;
    do assert_true(layer_cases_next(c->cases, &c->one));
    while (strcmp(c->one.name, answer->name) != 0);
    if (answer->error) {
        failed(c, answer->name, answer->error);
        return;
    }
    assert_int_equal(answer->noutputs, c->one.noutputs);
    for (int i = 0; i < answer->noutputs; i++) {
        struct golden_difference d;
        status error = golden_compare(answer->y[i], c->one.y[i], LAYER_CASE_TOLERANCE, &d);
        if (!error && !d.pass)
            error =
                status_fail(STATUS_DATA, "output %d: max|d| %.3g of max|y| %.3g", i, d.difference, d.largest);
        if (error) failed(c, answer->name, status_message(error));
        status_drop(&error);
    }
}

/* TensorFlow.js reads what Keras 2 does. */
static bool loads_in_keras2(const struct graph *graph) {
    const char *readers = "";
    status error = keras_readers(graph, &readers);
    bool loads = !error && strstr(readers, "Keras 2");
    status_drop(&error);
    return loads;
}

static void both_ways(void **state) {
    (void)state;
    char arguments[2048], cases_path[512], answers[512];
    struct comparison c = {0};
    int number = 0, nwritten = 0;
    strcpy(cases_path, in_folder("cases.jsonl.gz"));
    strcpy(answers, in_folder("answers.jsonl.gz"));
    snprintf(arguments, sizeof arguments, "'%s' 2", cases_path);
    assert_int_equal(run_node("layer_cases.mjs", arguments), 0);
    assert_int_equal(mkdir(in_folder("model"), 0777), 0);
    assert_int_equal(mkdir(in_folder("written"), 0777), 0);
    c.cases = layer_cases_open(cases_path);
    for (; layer_cases_next(c.cases, &c.one); number++) {
        struct model *model = NULL;
        char written[64];
        status error = layer_case_read(&c.one, in_folder("model"), &model);
        for (int e = 0; e < engine_count() && !error; e++)
            error = layer_case_compute(&c.one, model, engine_at(e));
        snprintf(written, sizeof written, "written/%d.h5", number);
        if (!error && loads_in_keras2(model->graph)) {
            error = model_write(in_folder(written), model);
            nwritten++;
        }
        if (error) failed(&c, c.one.name, status_message(error));
        status_drop(&error);
        model_destroy(&model);
    }
    layer_cases_close(c.cases);
    print_message("%d cases read, %d failures\n", number, c.failures);
    assert_int_equal(c.failures, 0);

    snprintf(arguments, sizeof arguments, "'%s' '%s' '%s'", cases_path, in_folder("written"), answers);
    assert_int_equal(run_node("layer_answers.mjs", arguments), 0);
    c.cases = layer_cases_open(cases_path);
    layer_answers_read(answers, compare_answer, &c);
    layer_case_clear(&c.one);
    layer_cases_close(c.cases);
    print_message("%d cases written and loaded by TensorFlow.js, %d failures\n", c.n, c.failures);
    assert_int_equal(c.failures, 0);
    assert_int_equal(c.n, nwritten);
    assert_true(nwritten > 250);
}

int main(void) {
    char *folder = peers(), path[1024];
    snprintf(path, sizeof path, "%s/node_modules/h5wasm", folder);
    free(folder);
    if (access(path, R_OK) != 0) {
        printf("skipped: %s is absent; scripts/install_peers.sh installs it\n", path);
        return 77;
    }
    const struct CMUnitTest tests[] = {IN_FOLDER(both_ways)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A migration program's text: parsed, printed, and parsed again, which is the same program. */
#include "io/keras.h"
#include "shared/plan.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With the tensors that the seeds name. */
static const char model[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", \"batch_input_shape\": [null, 8, 8, 4]}},"
    "{\"class_name\": \"Conv2D\", \"config\": {\"name\": \"conv\", \"filters\": 6, \"kernel_size\": [3, 3]}},"
    "{\"class_name\": \"BatchNormalization\", \"config\": {\"name\": \"norm\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"a/b\", \"units\": 5}}]}}";

static _Noreturn void fail(const char *what, status error, const char *text) {
    fprintf(stderr, "fuzz: %s: %s\n%s\n", what, status_message(error), text);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct graph *graph; /* the same for all inputs */
    struct plan *plan = NULL, *again = NULL;
    struct position at;
    char *first = NULL, *second = NULL;
    status error = graph ? SUCCESS : keras_graph_from_json(model, &graph);
    if (!error && !graph->node[0].nout) error = graph_infer(graph);
    if (error) fail("the model", error, model);
    struct plan_edits edits;
    error = plan_parse_edits((const char *)data, size, &edits, &at);
    if (!error) plan_edits_free(&edits);
    status_drop(&error);
    error = plan_parse((const char *)data, size, graph, graph, &plan, &at);
    if (error && status_code(error) != STATUS_DATA) fail("not a DATA error", error, "");
    if (error && at.line < 1) fail("no place", error, "");
    if (error) free(plan_excerpt((const char *)data, size, at));
    status_drop(&error);
    if (!plan) return 0;
    error = plan_print(plan, &first);
    if (!error) error = plan_parse(first, strlen(first), graph, graph, &again, &at);
    if (!error) error = plan_print(again, &second);
    if (error) fail("what was printed is not parsed", error, first);
    if (strcmp(first, second) != 0) fail("what was printed is parsed otherwise", error, first);
    free(first);
    free(second);
    plan_destroy(&plan);
    plan_destroy(&again);
    return 0;
}

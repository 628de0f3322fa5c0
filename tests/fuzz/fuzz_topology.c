/* A topology's JSON text: read, inferred, lowered, written, and read again: that is the same graph. */
#include "io/keras.h"
#include "io/keras/topology.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void fail(const char *what, status error, const char *json) {
    fprintf(stderr, "fuzz: %s: %s\n%s\n", what, status_message(error), json ? json : "");
    abort();
}

static void lower(const struct graph *graph) {
    struct opgraph *ops = NULL;
    struct graph_counts counts;
    int *boundaries = NULL, n;
    status error = graph_lower(graph, &ops, NULL);
    if (!error) error = graph_count(graph, &counts);
    if (!error) error = graph_boundaries(graph, &boundaries, &n);
    if (error && status_code(error) == STATUS_INTERNAL) fail("cannot be lowered", error, NULL);
    status_drop(&error);
    free(boundaries);
    opgraph_destroy(&ops);
}

/* What was written is read as a graph that is written the same. */
static void write_again(const struct graph *graph) {
    char *first = NULL, *second = NULL;
    struct graph *again = NULL;
    status error = keras_graph_to_json(graph, &first);
    if (!error) {
        error = keras_graph_from_json(first, &again);
        if (!error) error = graph_infer(again);
        if (!error) error = keras_graph_to_json(again, &second);
        if (error) fail("what was written is not read", error, first);
        if (strcmp(first, second) != 0) fail("what was written is read otherwise", error, first);
    }
    if (status_code(error) == STATUS_INTERNAL) fail("cannot be written", error, NULL);
    status_drop(&error);
    free(first);
    free(second);
    graph_destroy(&again);
}

/* With all unsupported layers passed over. */
static void look_at(const char *json) {
    struct problems problems = {0};
    struct keras_options options = {.unsupported = &problems};
    struct topology topology = {0};
    status error = topology_read(json, 0, &options, &topology);
    if (!error) error = topology_infer(&topology, &options);
    status_drop(&error);
    topology_clear(&topology);
    problems_clear(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct graph *graph = NULL;
    char *json = malloc(size + 1);
    if (!json) return 0;
    memcpy(json, data, size);
    json[size] = 0;
    status error = keras_graph_from_json(json, &graph);
    if (!error) error = graph_infer(graph);
    if (!error) {
        lower(graph);
        write_again(graph);
    }
    if (status_code(error) == STATUS_INTERNAL) fail("cannot be read", error, json);
    status_drop(&error);
    graph_destroy(&graph);
    look_at(json);
    free(json);
    return 0;
}

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

/* What is written is read. */
static void write_and_read(const struct graph *graph, char **json, struct graph **again) {
    status error = keras_graph_to_json(graph, json);
    if (status_code(error) == STATUS_INTERNAL) fail("cannot be written", error, NULL);
    if (!error) {
        error = keras_graph_from_json(*json, again);
        if (!error) error = graph_infer(*again);
        if (error) fail("what was written is not read", error, *json);
    }
    status_drop(&error);
}

/* What was written is read as a graph that is written the same. The first time, layers that no output needs
 * are left out, and a dialect may be chosen for their sake. */
static void write_again(const struct graph *graph) {
    enum { TIMES = 3 };
    char *json[TIMES] = {NULL};
    struct graph *again[TIMES] = {NULL};
    int n = 0;
    for (const struct graph *from = graph; n < TIMES && from; from = again[n++])
        write_and_read(from, &json[n], &again[n]);
    if (json[0] && (!json[2] || strcmp(json[1], json[2]) != 0))
        fail("what was written is read otherwise", NULL, json[1]);
    for (int i = 0; i < TIMES; i++) {
        free(json[i]);
        graph_destroy(&again[i]);
    }
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

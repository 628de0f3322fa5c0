/* Topology: the target's whole graph is given, as a Keras model's JSON or a model file. */
#include "coordinator/target_kind.h"

#include "io/file.h"
#include "io/keras.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)64 << 20)

static status exclude(const struct target_config *config) {
    const struct {
        bool set;
        const char *key;
    } others[] = {{config->params > 0, "params"},
                  {config->flops > 0, "flops"},
                  {config->latency_ms > 0, "latency_ms"},
                  {config->latency_ratio > 0, "latency_ratio"},
                  {config->blocks_removed > 0, "blocks_removed"},
                  {config->nwidths > 0, "widths"},
                  {config->ndepth > 0, "depth"},
                  {config->nreplace > 0, "replace"},
                  {config->rank > 0 && config->rank < 1, "rank"},
                  {config->rank_energy > 0, "rank_energy"},
                  {config->nranks > 0, "ranks"},
                  {config->head > 0, "head"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i].set)
            return status_fail(STATUS_USAGE, "target.topology gives the whole graph; leave target.%s out",
                               others[i].key);
    return SUCCESS;
}

static status read_json(const char *path, struct graph **graph) {
    char *json = NULL;
    STATUS_TRY(file_read_text(path, MAX_BYTES, &json));
    status error = keras_graph_from_json(json, graph);
    free(json);
    return error;
}

static status read_model(const char *path, struct graph **graph) {
    struct keras_file *file = NULL;
    status error = keras_open(path, NULL, &file, graph);
    keras_close(&file);
    return error;
}

static status give(const struct target_config *config, const struct fold *fold, struct skeleton **skeleton) {
    const char *path = config->topology;
    if (!path || !path[0]) return SUCCESS;
    STATUS_TRY(exclude(config));
    size_t length = strlen(path);
    bool json = length > 5 && !strcmp(path + length - 5, ".json");
    struct graph *graph = NULL;
    status error = json ? read_json(path, &graph) : read_model(path, &graph);
    error = status_context(error, "target.topology \"%s\"", path);
    if (!error) error = skeleton_of_topology(fold, graph, skeleton);
    graph_destroy(&graph);
    return error;
}

const struct target_kind target_topology = {.give = give};

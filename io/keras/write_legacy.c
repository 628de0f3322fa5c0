/* Whole models in HDF5, the legacy format that Keras 2 and Keras 3 load. */
#include "io/keras/marks.h"
#include "io/keras/topology.h"
#include "io/keras/write.h"

#include <stdio.h>
#include <stdlib.h>

/* Of the dialects that are written; Keras 3 reads that of Keras 2 as well. */
#define KERAS2_VERSION "2.15.0"
#define KERAS3_VERSION "3.0.0"
#define BACKEND "tensorflow"

/* The Keras that reads the dialect a graph is written in. */
static const char *version_of(const struct graph *graph) {
    return topology_dialect_of(graph) == TOPOLOGY_KERAS3 ? KERAS3_VERSION : KERAS2_VERSION;
}

static status write_root(int64_t file, const struct graph *graph, const char *preprocessing) {
    char *json = NULL;
    STATUS_TRY(keras_graph_to_json(graph, &json));
    status error = hdf5_write_text(file, "model_config", json);
    free(json);
    STATUS_TRY(error);
    STATUS_TRY(hdf5_write_text(file, "keras_version", version_of(graph)));
    STATUS_TRY(hdf5_write_text(file, "backend", BACKEND));
    return marks_write(file, graph->keras_version, preprocessing);
}

/* "<layer>/<weight>:0", as Keras 2 names a weight. */
static char *weight_name(const struct layer *layer, int w) {
    const struct weight *weight = &layer->weight[w];
    char *name = NULL;
    if (asprintf(&name, "%s/%s:0", layer->name, weight->keras2 ? weight->keras2 : weight->name) < 0)
        return NULL;
    return name;
}

/* The group of one layer, with the names of its weights and their datasets: trainable ones first, as a kind
 * lists them and as Keras counts them. */
static status write_layer(struct hdf5_writer *writer, const struct graph *graph, int l) {
    const struct layer *layer = &graph->layer[l];
    char *names[LAYER_MAX_WEIGHTS] = {0}, *path = NULL;
    int64_t group = -1;
    status error = SUCCESS;
    if (asprintf(&path, "/model_weights/%s", layer->name) < 0) path = NULL;
    error = path ? hdf5_writer_group(writer, path + 1, &group) : status_no_memory("a path", 0);
    for (int i = 0; i < layer->nweights && !error; i++) {
        char *dataset = NULL;
        names[i] = weight_name(layer, i);
        if (!names[i] || asprintf(&dataset, "%s/%s", path, names[i]) < 0) {
            dataset = NULL;
            error = status_no_memory("names", 0);
        }
        if (!error) error = hdf5_writer_add(writer, l, i, dataset);
        free(dataset);
    }
    if (!error) error = hdf5_write_names(group, "weight_names", layer->nweights, names);
    for (int i = 0; i < layer->nweights; i++) free(names[i]);
    free(path);
    hdf5_close(group);
    return error;
}

/* Layers in Keras's order: it assigns weights to layers by their order alone. */
static status write_layers(struct hdf5_writer *writer, const struct graph *graph) {
    int *order = NULL, n = 0;
    char **names = NULL;
    int64_t root = -1;
    status error = SUCCESS;
    STATUS_GOTO(error, cleanup, hdf5_writer_group(writer, "model_weights", &root));
    STATUS_GOTO(error, cleanup, topology_order(graph, &order, &n));
    names = malloc(((size_t)n + 1) * sizeof *names);
    if (!names) {
        error = status_no_memory("names", (size_t)n * sizeof *names);
        goto cleanup;
    }
    for (int i = 0; i < n; i++) names[i] = graph->layer[order[i]].name;
    STATUS_GOTO(error, cleanup, hdf5_write_names(root, "layer_names", n, names));
    STATUS_GOTO(error, cleanup, hdf5_write_text(root, "keras_version", version_of(graph)));
    STATUS_GOTO(error, cleanup, hdf5_write_text(root, "backend", BACKEND));
    for (int i = 0; i < n; i++) STATUS_GOTO(error, cleanup, write_layer(writer, graph, order[i]));
cleanup:
    free(names);
    free(order);
    hdf5_close(root);
    return error;
}

static status lay_out(struct hdf5_writer *writer, const struct graph *graph, const char *preprocessing,
                      char **config) {
    (void)config; /* it is in the file */
    STATUS_TRY(write_root(hdf5_writer_file(writer), graph, preprocessing));
    return write_layers(writer, graph);
}

const struct keras_format keras_format_legacy = {.lay_out = lay_out};

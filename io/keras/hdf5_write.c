/* Whole models in HDF5: writing. */
#include "io/keras.h"

#include "io/file.h"
#include "io/keras/hdf5.h"
#include "io/keras/marks.h"
#include "io/keras/topology.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the dialects that are written; Keras 3 reads that of Keras 2 as well. */
#define KERAS2_VERSION "2.15.0"
#define KERAS3_VERSION "3.0.0"
#define BACKEND "tensorflow"

struct target { /* a weight being written */
    char *path; /* owned, in the file */
    struct shape shape;
    int64_t missing; /* rows */
};

struct keras_writer {
    char *path, *temporary; /* owned */
    int64_t file;
    int nlayers;
    int *first; /* [nlayers + 1] first target of each layer */
    struct target *target;
};

static void destroy(struct keras_writer **writer) {
    struct keras_writer *w = *writer;
    for (int i = 0; w->target && w->first && i < w->first[w->nlayers]; i++) free(w->target[i].path);
    free(w->target);
    free(w->first);
    free(w->path);
    free(w->temporary);
    free(w);
    *writer = NULL;
}

void keras_writer_abandon(struct keras_writer **writer) {
    struct keras_writer *w = *writer;
    if (!w) return;
    if (w->file >= 0) hdf5_discard(w->file);
    file_abandon(w->temporary);
    destroy(writer);
}

/* ---- the file's frame ---- */

/* The Keras that reads the dialect a graph is written in. */
static const char *version_of(const struct graph *graph) {
    return topology_dialect_of(graph) == TOPOLOGY_KERAS3 ? KERAS3_VERSION : KERAS2_VERSION;
}

static status write_root(hid_t file, const struct graph *graph, const char *preprocessing) {
    char *json = NULL;
    STATUS_TRY(keras_graph_to_json(graph, &json));
    status error = hdf5_write_text(file, "model_config", json);
    free(json);
    STATUS_TRY(error);
    STATUS_TRY(hdf5_write_text(file, "keras_version", version_of(graph)));
    STATUS_TRY(hdf5_write_text(file, "backend", BACKEND));
    return marks_write(file, graph->keras_version, preprocessing);
}

/* A dataset that hdf5_write_rows() fills; its place in the file is fixed now. */
static status create_dataset(hid_t file, const struct target *target) {
    hsize_t dims[SHAPE_MAX_RANK];
    for (int i = 0; i < target->shape.rank; i++) dims[i] = (hsize_t)target->shape.dim[i];
    hid_t space =
        target->shape.rank ? H5Screate_simple(target->shape.rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t link = H5Pcreate(H5P_LINK_CREATE), list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = -1;
    if (space >= 0 && link >= 0 && list >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0 &&
        H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) >= 0)
        dataset = H5Dcreate2(file, target->path, H5T_IEEE_F32LE, space, link, list, H5P_DEFAULT);
    char text[HDF5_TEXT_MAX];
    status error = dataset < 0 ? status_fail(STATUS_IO, "cannot create %s: %s; check the disk", target->path,
                                             hdf5_last_error(text))
                               : SUCCESS;
    if (dataset >= 0) H5Dclose(dataset);
    if (list >= 0) H5Pclose(list);
    if (link >= 0) H5Pclose(link);
    if (space >= 0) H5Sclose(space);
    return error;
}

/* "<layer>/<weight>:0", as Keras 2 names a weight. */
static char *weight_name(const struct layer *layer, int w) {
    const struct weight *weight = &layer->weight[w];
    char *name = NULL;
    if (asprintf(&name, "%s/%s:0", layer->name, weight->keras2 ? weight->keras2 : weight->name) < 0)
        return NULL;
    return name;
}

/* The group of one layer, with the names of its weights and their datasets. */
static status write_layer(struct keras_writer *w, hid_t root, const struct graph *graph, int l) {
    const struct layer *layer = &graph->layer[l];
    char *names[LAYER_MAX_WEIGHTS] = {0};
    status error = SUCCESS;
    hid_t link = H5Pcreate(H5P_LINK_CREATE), group = -1;
    if (link >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0)
        group = H5Gcreate2(root, layer->name, link, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) {
        char text[HDF5_TEXT_MAX];
        error = status_fail(STATUS_IO, "cannot create group %s: %s; check the disk", layer->name,
                            hdf5_last_error(text));
        goto cleanup;
    }
    int n = 0; /* Keras counts trainable weights first; a kind lists them so */
    for (int i = 0; i < layer->nweights; i++) {
        struct target *target = &w->target[w->first[l] + i];
        int64_t columns;
        names[n] = weight_name(layer, i);
        if (!names[n] || asprintf(&target->path, "/model_weights/%s/%s", layer->name, names[n]) < 0) {
            target->path = NULL;
            error = status_no_memory("names", 0);
            goto cleanup;
        }
        n++;
        target->shape = layer->weight[i].shape;
        shape_rows(&target->shape, &target->missing, &columns);
        STATUS_GOTO(error, cleanup, create_dataset(w->file, target));
    }
    error = hdf5_write_names(group, "weight_names", n, names);
cleanup:
    for (int i = 0; i < layer->nweights; i++) free(names[i]);
    hdf5_close(group);
    if (link >= 0) H5Pclose(link);
    return error;
}

/* Layers in Keras's order: it assigns weights to layers by their order alone. */
static status write_layers(struct keras_writer *w, const struct graph *graph) {
    int *order = NULL, n = 0;
    char **names = NULL;
    status error = SUCCESS;
    hid_t root = H5Gcreate2(w->file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (root < 0) {
        char text[HDF5_TEXT_MAX];
        return status_fail(STATUS_IO, "cannot create group model_weights: %s; check the disk",
                           hdf5_last_error(text));
    }
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
    for (int i = 0; i < n; i++) STATUS_GOTO(error, cleanup, write_layer(w, root, graph, order[i]));
cleanup:
    free(names);
    free(order);
    hdf5_close(root);
    return error;
}

static status create_writer(const char *path, const struct graph *graph, struct keras_writer **writer) {
    struct keras_writer *w = calloc(1, sizeof *w);
    if (!w) return status_no_memory("a model file", sizeof *w);
    *writer = w;
    w->file = -1;
    w->path = strdup(path);
    w->first = calloc((size_t)graph->nlayers + 1, sizeof *w->first);
    if (!w->path || !w->first)
        return status_no_memory("a model file", (size_t)graph->nlayers * sizeof *w->first);
    w->nlayers = graph->nlayers;
    for (int l = 0; l < graph->nlayers; l++) w->first[l + 1] = w->first[l] + graph->layer[l].nweights;
    w->target = calloc((size_t)w->first[w->nlayers] + 1, sizeof *w->target);
    if (!w->target) return status_no_memory("a model file", (size_t)w->first[w->nlayers] * sizeof *w->target);
    STATUS_TRY(file_temporary(path, &w->temporary));
    return hdf5_create(w->temporary, &w->file);
}

status keras_writer_create(const char *path, const struct graph *graph, const char *preprocessing,
                           struct keras_writer **writer) {
    struct keras_writer *w = NULL;
    status error = create_writer(path, graph, &w);
    if (!error) error = status_context(write_root(w->file, graph, preprocessing), "cannot write %s", path);
    if (!error) error = status_context(write_layers(w, graph), "cannot write %s", path);
    if (error) {
        keras_writer_abandon(&w);
        return error;
    }
    *writer = w;
    return SUCCESS;
}

/* ---- weights ---- */

status keras_writer_rows(struct keras_writer *w, int layer, int weight, int64_t first, int64_t nrows,
                         const float *rows) {
    if (layer < 0 || layer >= w->nlayers || weight < 0 || weight >= w->first[layer + 1] - w->first[layer])
        return status_fail(STATUS_INTERNAL, "%s has no weight %d of layer %d", w->path, weight, layer);
    struct target *target = &w->target[w->first[layer] + weight];
    if (!target->path)
        return status_fail(STATUS_INTERNAL, "%s: layer %d is not used by the model", w->path, layer);
    int64_t all, columns;
    shape_rows(&target->shape, &all, &columns);
    for (int64_t i = 0; i < nrows * columns; i++)
        if (!isfinite(rows[i]))
            return status_fail(
                STATUS_DATA, "%s: weight %s would be %s at element %lld; the model is not written", w->path,
                target->path, isnan(rows[i]) ? "NaN" : "infinite", (long long)(first * columns + i));
    hid_t dataset = H5Dopen2(w->file, target->path, H5P_DEFAULT);
    status error = dataset < 0 ? status_fail(STATUS_IO, "cannot be opened again")
                               : hdf5_write_rows(dataset, &target->shape, first, nrows, rows);
    char text[HDF5_TEXT_MAX];
    if (dataset >= 0 && H5Dclose(dataset) < 0 && !error)
        error = status_fail(STATUS_IO, "cannot be written: %s; free some space or choose another folder",
                            hdf5_last_error(text));
    if (!error) target->missing -= nrows;
    return status_context(error, "%s: weight %s", w->path, target->path);
}

status keras_writer_commit(struct keras_writer **writer) {
    struct keras_writer *w = *writer;
    status error = SUCCESS;
    for (int i = 0; i < w->first[w->nlayers] && !error; i++)
        if (w->target[i].path && w->target[i].missing > 0)
            error = status_fail(STATUS_INTERNAL, "%s: %lld rows of weight %s were not written", w->path,
                                (long long)w->target[i].missing, w->target[i].path);
    if (error) hdf5_discard(w->file);
    else error = status_context(hdf5_finish(w->file), "cannot write %s", w->path);
    if (error) file_abandon(w->temporary);
    else error = file_commit(w->temporary, w->path);
    destroy(writer);
    return error;
}

status keras_write(const char *path, const struct graph *graph, const struct params *params,
                   const char *preprocessing) {
    struct keras_writer *w = NULL;
    STATUS_TRY(keras_writer_create(path, graph, preprocessing, &w));
    status error = SUCCESS;
    for (int l = 0; l < graph->nlayers && !error; l++)
        for (int i = 0; i < graph->layer[l].nweights && !error; i++) {
            if (!w->target[w->first[l] + i].path) continue;
            int64_t rows, columns;
            shape_rows(&graph->layer[l].weight[i].shape, &rows, &columns);
            error = keras_writer_rows(w, l, i, 0, rows, params_at(params, w->first[l] + i));
        }
    if (!error) return keras_writer_commit(&w);
    keras_writer_abandon(&w);
    return error;
}

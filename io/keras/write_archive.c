/* Keras 3's archive .keras: metadata.json, config.json and model.weights.h5, all of them stored
 * (keras/src/saving/saving_lib.py). */
#include "io/keras/marks.h"
#include "io/keras/topology.h"
#include "io/keras/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zip.h>

#define KERAS_VERSION "3.0.0" /* the first that reads what is written */

/* ---- the HDF5 file ---- */

/* A group "vars" with the name that Keras gives it. */
static status write_vars(struct hdf5_writer *writer, const char *group, const char *name) {
    char *path = NULL;
    int64_t vars;
    if (asprintf(&path, "%s%svars", group, *group ? "/" : "") < 0) return status_no_memory("a path", 0);
    status error = hdf5_writer_group(writer, path, &vars);
    free(path);
    STATUS_TRY(error);
    error = hdf5_write_text(vars, "name", name);
    hdf5_close(vars);
    return error;
}

/* Weights of a layer: numbered within each inner layer that has some. */
static status write_layer(struct hdf5_writer *writer, const struct graph *graph, int l, const char *group) {
    const struct layer *layer = &graph->layer[l];
    STATUS_TRY(write_vars(writer, group, layer->name));
    for (int w = 0; w < layer->nweights; w++) {
        const char *inner = layer->weight[w].path;
        char *path = NULL;
        int number = 0;
        for (int i = 0; i < w; i++) number += !strcmp(layer->weight[i].path, inner);
        if (asprintf(&path, "%s%s%s/vars/%d", group, *inner ? "/" : "", inner, number) < 0)
            return status_no_memory("a path", 0);
        status error = hdf5_writer_add(writer, l, w, path);
        free(path);
        STATUS_TRY(error);
    }
    return SUCCESS;
}

/* Where layers go is read from the topology as it is written, so that it is where its reader looks. */
static status write_layers(struct hdf5_writer *writer, const struct graph *graph, const char *config) {
    struct topology t = {0};
    STATUS_TRY(topology_read(config, 3, NULL, &t));
    status error = SUCCESS;
    for (int i = 0; i < t.nlayers && !error; i++) {
        int l = graph_find_layer(graph, t.graph->layer[i].name);
        if (l >= 0) error = write_layer(writer, graph, l, t.group[i]);
        else if (t.graph->layer[i].kind->max_inputs != 0) /* a Sequential may have got an input */
            error =
                status_fail(STATUS_INTERNAL, "layer \"%.80s\" was not in the model", t.graph->layer[i].name);
    }
    topology_clear(&t);
    return error;
}

static status lay_out(struct hdf5_writer *writer, const struct graph *graph, const char *preprocessing,
                      char **config) {
    STATUS_TRY(topology_write(graph, TOPOLOGY_KERAS3, config));
    STATUS_TRY(marks_write(hdf5_writer_file(writer), graph->keras_version, preprocessing));
    STATUS_TRY(write_vars(writer, "", graph->name));
    return write_layers(writer, graph, *config);
}

/* ---- the archive ---- */

static status zip_failed(zip_t *zip, const char *name) {
    return status_fail(STATUS_IO, "cannot write %s: %.120s; check the disk", name, zip_strerror(zip));
}

/* Appends an entry; the source is consumed. */
static status add_entry(zip_t *zip, const char *name, zip_source_t *source) {
    zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
        status error = zip_failed(zip, name);
        if (source) zip_source_free(source);
        return error;
    }
    if (zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0)
        return zip_failed(zip, name);
    return SUCCESS;
}

static void write_metadata(char *text, size_t size) {
    char date[32];
    struct tm now;
    time_t seconds = time(NULL);
    if (!localtime_r(&seconds, &now) || !strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", &now)) date[0] = 0;
    snprintf(text, size, "{\"keras_version\": \"" KERAS_VERSION "\", \"date_saved\": \"%s\"}", date);
}

static status pack(const char *weights, const char *config, const char *to) {
    int code = 0;
    char metadata[128];
    zip_t *zip = zip_open(to, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!zip) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        status error =
            status_fail(STATUS_IO, "cannot write an archive: %.120s; check the folder and the disk",
                        zip_error_strerror(&why));
        zip_error_fini(&why);
        return error;
    }
    write_metadata(metadata, sizeof metadata);
    status error = add_entry(zip, "metadata.json", zip_source_buffer(zip, metadata, strlen(metadata), 0));
    if (!error) error = add_entry(zip, "config.json", zip_source_buffer(zip, config, strlen(config), 0));
    if (!error) error = add_entry(zip, "model.weights.h5", zip_source_file(zip, weights, 0, -1));
    if (!error && zip_close(zip) != 0) error = zip_failed(zip, "the archive");
    else if (!error) return SUCCESS;
    zip_discard(zip);
    return error;
}

const struct keras_format keras_format_archive = {.lay_out = lay_out, .pack = pack};

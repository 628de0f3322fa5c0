/* Whole models in HDF5: opening and reading. */
#include "io/keras.h"

#include "io/keras/locate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct keras_file {
    char *path;
    int64_t file, root; /* HDF5 ids; root has the layers' groups */
    struct places places;
    int64_t bytes_read;
};

void keras_close(struct keras_file **file) {
    struct keras_file *f = *file;
    if (!f) return;
    places_clear(&f->places);
    hdf5_close(f->root);
    hdf5_close(f->file);
    free(f->path);
    free(f);
    *file = NULL;
}

/* Major version of the Keras that wrote the model; 0 if the file does not say. A file written by this program
 * is in the dialect of Keras 2 and says which Keras its layers mean. */
static status read_version(int64_t file, int64_t root, int *version) {
    static const char *const names[] = {"godwit_keras_version", "keras_version"};
    *version = 0;
    for (int i = 0; i < 4 && *version == 0; i++) {
        char *text = NULL;
        STATUS_TRY(hdf5_read_text(i < 2 ? file : root, names[i % 2], &text));
        if (text) *version = atoi(text);
        free(text);
        if (*version < 1 || *version > 9) *version = 0;
    }
    return SUCCESS;
}

static status open_root(struct keras_file *f) {
    STATUS_TRY(hdf5_open_object(f->file, "model_weights", &f->root));
    if (f->root < 0)
        return status_fail(STATUS_DATA,
                           "there is no group model_weights; save the whole model, not its topology alone");
    return SUCCESS;
}

static status read_model(struct keras_file *f, struct topology *t) {
    char *config = NULL;
    int version;
    STATUS_TRY(hdf5_read_text(f->file, "model_config", &config));
    if (!config)
        return status_fail(
            STATUS_DATA,
            "there is no attribute model_config; save the whole model (model.save), not its weights alone");
    status error = open_root(f);
    if (!error) error = read_version(f->file, f->root, &version);
    if (!error) error = topology_read(config, version, t);
    free(config);
    STATUS_TRY(error);
    STATUS_TRY(graph_infer(t->graph));
    return locate_weights(f->root, t, &f->places);
}

status keras_open(const char *path, const struct keras_options *options, struct keras_file **file,
                  struct graph **graph) {
    (void)options; /* whole models say all themselves */
    struct topology t = {0};
    status error = SUCCESS;
    struct keras_file *f = calloc(1, sizeof *f);
    if (!f) return status_no_memory("a model file", sizeof *f);
    f->file = f->root = -1;
    f->path = strdup(path);
    if (!f->path) {
        error = status_no_memory("a path", strlen(path));
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, hdf5_open(path, &f->file));
    error = status_context(read_model(f, &t), "%s", path);
    if (error) goto cleanup;
    *graph = t.graph;
    t.graph = NULL;
    *file = f;
    f = NULL;
cleanup:
    topology_clear(&t);
    keras_close(&f);
    return error;
}

static status check_finite(const float *values, int64_t n, int64_t first) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return status_fail(STATUS_DATA, "is %s at element %lld; the model cannot be used",
                               isnan(values[i]) ? "NaN" : "infinite", (long long)(first + i));
    return SUCCESS;
}

static status read_rows(struct keras_file *f, const struct place *place, int64_t first, int64_t nrows,
                        float *rows) {
    int64_t dataset, all, columns;
    hdf5_matrix(&place->shape, &all, &columns);
    STATUS_TRY(hdf5_open_object(f->root, place->path, &dataset));
    status error = dataset < 0 ? status_fail(STATUS_DATA, "is missing")
                               : hdf5_read_rows(dataset, &place->shape, first, nrows, rows);
    hdf5_close(dataset);
    if (!error) f->bytes_read += nrows * columns * (int64_t)place->size;
    if (!error) error = check_finite(rows, nrows * columns, first * columns);
    return status_context(error, "%s: weight %s", f->path, place->path);
}

status keras_read_rows(struct keras_file *file, int layer, int weight, int64_t first, int64_t nrows,
                       float *rows) {
    if (layer < 0 || layer >= file->places.nlayers || weight < 0 ||
        weight >= file->places.first[layer + 1] - file->places.first[layer])
        return status_fail(STATUS_INTERNAL, "%s has no weight %d of layer %d", file->path, weight, layer);
    return read_rows(file, &file->places.place[file->places.first[layer] + weight], first, nrows, rows);
}

status keras_read_params(struct keras_file *file, struct params *params) {
    if (params->n != file->places.n)
        return status_fail(STATUS_INTERNAL, "%s has %d weights, not %d", file->path, file->places.n,
                           params->n);
    for (int i = 0; i < params->n; i++) {
        const struct place *place = &file->places.place[i];
        int64_t rows, columns;
        hdf5_matrix(&place->shape, &rows, &columns);
        if (params->count[i] != rows * columns)
            return status_fail(STATUS_INTERNAL, "%s: weight %s has %lld elements, not %lld", file->path,
                               place->path, (long long)(rows * columns), (long long)params->count[i]);
        STATUS_TRY(read_rows(file, place, 0, rows, params_at(params, i)));
    }
    return SUCCESS;
}

int64_t keras_bytes_read(const struct keras_file *file) {
    return file->bytes_read;
}

status keras_read_preprocessing(struct keras_file *file, char **json) {
    return status_context(hdf5_read_text(file->file, "godwit_preprocessing", json), "%s", file->path);
}

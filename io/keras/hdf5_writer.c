#include "io/keras/hdf5_writer.h"

#include "io/keras/recipe.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct target { /* a weight being written */
    char *path; /* owned, in the file; NULL: not added */
    struct shape shape;
    int64_t missing; /* rows */
};

struct hdf5_writer {
    char *name;                /* owned */
    const struct graph *graph; /* borrowed while weights are added */
    int64_t file;
    int nlayers, ntargets;
    int *first; /* [nlayers + 1] first target of each layer */
    struct target *target;
};

static void destroy(struct hdf5_writer **writer) {
    struct hdf5_writer *w = *writer;
    for (int i = 0; i < w->ntargets; i++) free(w->target[i].path);
    free(w->target);
    free(w->first);
    free(w->name);
    free(w);
    *writer = NULL;
}

void hdf5_writer_discard(struct hdf5_writer **writer) {
    struct hdf5_writer *w = *writer;
    if (!w) return;
    if (w->file >= 0) hdf5_discard(w->file);
    destroy(writer);
}

static status create(const char *path, const char *name, struct hdf5_writer *w) {
    const struct graph *graph = w->graph;
    int ntargets = 0;
    w->name = strdup(name);
    w->first = calloc((size_t)graph->nlayers + 1, sizeof *w->first);
    if (!w->name || !w->first)
        return status_no_memory("a model file", (size_t)graph->nlayers * sizeof *w->first);
    for (int l = 0; l < graph->nlayers; l++) w->first[l + 1] = ntargets += graph->layer[l].nweights;
    w->target = calloc((size_t)ntargets + 1, sizeof *w->target);
    if (!w->target) return status_no_memory("a model file", (size_t)ntargets * sizeof *w->target);
    w->ntargets = ntargets;
    return hdf5_create(path, &w->file);
}

status hdf5_writer_create(const char *path, const char *name, const struct graph *graph,
                          struct hdf5_writer **writer) {
    struct hdf5_writer *w = calloc(1, sizeof *w);
    if (!w) return status_no_memory("a model file", sizeof *w);
    *w = (struct hdf5_writer){.graph = graph, .nlayers = graph->nlayers, .file = -1};
    status error = create(path, name, w);
    if (error) hdf5_writer_discard(&w);
    *writer = w;
    return error;
}

int64_t hdf5_writer_file(const struct hdf5_writer *writer) {
    return writer->file;
}

static status cannot_create(const char *what, const char *path) {
    char text[HDF5_TEXT_MAX];
    return status_fail(STATUS_IO, "cannot create %s%s: %s; check the disk", what, path,
                       hdf5_last_error(text));
}

status hdf5_writer_group(struct hdf5_writer *w, const char *path, int64_t *group) {
    STATUS_TRY(hdf5_open_object(w->file, path, group));
    if (*group >= 0) return SUCCESS;
    hid_t link = H5Pcreate(H5P_LINK_CREATE);
    if (link >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0)
        *group = H5Gcreate2(w->file, path, link, H5P_DEFAULT, H5P_DEFAULT);
    if (link >= 0) H5Pclose(link);
    return *group < 0 ? cannot_create("group ", path) : SUCCESS;
}

/* A dataset that rows will fill; its place in the file is fixed now. No time is kept with it: the same model
 * is the same bytes. */
static status create_dataset(hid_t file, hid_t type, const struct target *target) {
    hsize_t dims[SHAPE_MAX_RANK];
    for (int i = 0; i < target->shape.rank; i++) dims[i] = (hsize_t)target->shape.dim[i];
    hid_t space =
        target->shape.rank ? H5Screate_simple(target->shape.rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t link = H5Pcreate(H5P_LINK_CREATE), list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = -1;
    if (space >= 0 && link >= 0 && list >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0 &&
        H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(list, false) >= 0)
        dataset = H5Dcreate2(file, target->path, type, space, link, list, H5P_DEFAULT);
    status error = dataset < 0 ? cannot_create("", target->path) : SUCCESS;
    if (dataset >= 0) H5Dclose(dataset);
    if (list >= 0) H5Pclose(list);
    if (link >= 0) H5Pclose(link);
    if (space >= 0) H5Sclose(space);
    return error;
}

status hdf5_writer_add(struct hdf5_writer *w, int layer, int weight, const char *path) {
    struct target *target = &w->target[w->first[layer] + weight];
    const struct weight *what = &w->graph->layer[layer].weight[weight];
    int64_t columns;
    target->path = strdup(path);
    if (!target->path) return status_no_memory("a path", strlen(path));
    target->shape = what->shape;
    shape_rows(&target->shape, &target->missing, &columns);
    return create_dataset(w->file, recipe_may_count(what) ? H5T_STD_I64LE : H5T_IEEE_F32LE, target);
}

bool hdf5_writer_has(const struct hdf5_writer *w, int layer, int weight) {
    return w->target[w->first[layer] + weight].path != NULL;
}

static status check_finite(const struct target *target, const float *values, int64_t n, int64_t first) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return status_fail(STATUS_DATA, "weight %s would be %s at element %lld; the model is not written",
                               target->path, isnan(values[i]) ? "NaN" : "infinite", (long long)(first + i));
    return SUCCESS;
}

static status write_rows(struct hdf5_writer *w, struct target *target, int64_t first, int64_t nrows,
                         const float *rows) {
    hid_t dataset = H5Dopen2(w->file, target->path, H5P_DEFAULT);
    status error = dataset < 0 ? status_fail(STATUS_IO, "cannot be opened again")
                               : hdf5_write_rows(dataset, &target->shape, first, nrows, rows);
    char text[HDF5_TEXT_MAX];
    if (dataset >= 0 && H5Dclose(dataset) < 0 && !error)
        error = status_fail(STATUS_IO, "cannot be written: %s; free some space or choose another folder",
                            hdf5_last_error(text));
    if (!error) target->missing -= nrows;
    return status_context(error, "weight %s", target->path);
}

status hdf5_writer_rows(struct hdf5_writer *w, int layer, int weight, int64_t first, int64_t nrows,
                        const float *rows) {
    if (layer < 0 || layer >= w->nlayers || weight < 0 || weight >= w->first[layer + 1] - w->first[layer])
        return status_fail(STATUS_INTERNAL, "%s has no weight %d of layer %d", w->name, weight, layer);
    struct target *target = &w->target[w->first[layer] + weight];
    if (!target->path)
        return status_fail(STATUS_INTERNAL, "%s: layer %d is not used by the model", w->name, layer);
    int64_t all, columns;
    shape_rows(&target->shape, &all, &columns);
    status error = check_finite(target, rows, nrows * columns, first * columns);
    if (!error) error = write_rows(w, target, first, nrows, rows);
    return status_context(error, "%s", w->name);
}

status hdf5_writer_leave(struct hdf5_writer *w, int layer, int weight, struct keras_place *place) {
    struct target *target = &w->target[w->first[layer] + weight];
    int64_t count = 0;
    *place = (struct keras_place){.offset = -1};
    if (!target->path) return SUCCESS;
    target->missing = 0;
    STATUS_TRY(shape_count(&target->shape, &count));
    if (!count) return SUCCESS;
    hid_t dataset = H5Dopen2(w->file, target->path, H5P_DEFAULT);
    haddr_t offset = dataset < 0 ? HADDR_UNDEF : H5Dget_offset(dataset);
    if (dataset >= 0) H5Dclose(dataset);
    if (offset == HADDR_UNDEF || offset > INT64_MAX)
        return status_fail(STATUS_INTERNAL, "%s: weight %s has no place in the file", w->name, target->path);
    place->offset = (int64_t)offset;
    place->counts = recipe_may_count(&w->graph->layer[layer].weight[weight]);
    return SUCCESS;
}

status hdf5_writer_finish(struct hdf5_writer **writer) {
    struct hdf5_writer *w = *writer;
    status error = SUCCESS;
    if (!w) return SUCCESS;
    for (int i = 0; i < w->ntargets && !error; i++)
        if (w->target[i].path && w->target[i].missing > 0)
            error = status_fail(STATUS_INTERNAL, "%s: %lld rows of weight %s were not written", w->name,
                                (long long)w->target[i].missing, w->target[i].path);
    if (error) hdf5_discard(w->file);
    else error = status_context(hdf5_finish(w->file), "cannot write %s", w->name);
    destroy(writer);
    return error;
}

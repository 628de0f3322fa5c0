/* HDF5: laid out by rank 0 as a whole, so that rows have their places. */
#include "io/file.h"
#include "io/keras/hdf5.h"
#include "io/results/format.h"

#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define NAMES_AT_ONCE 1024

static status cannot_make(const char *path, const char *name) {
    char text[HDF5_TEXT_MAX];
    return status_fail(STATUS_IO, "cannot make data set \"%s\" of %s: %s", name, path, hdf5_last_error(text));
}

/* A data set whose place is fixed now; *offset: -1 if it has no values. No time is kept with it: the same
 * results are the same bytes. */
static status make_set(hid_t file, const struct results *r, const char *name, hid_t type, int rank,
                       const hsize_t *dim, hid_t *set, int64_t *offset) {
    hid_t space = H5Screate_simple(rank, dim, NULL);
    hid_t link = H5Pcreate(H5P_LINK_CREATE), list = H5Pcreate(H5P_DATASET_CREATE);
    *set = -1;
    if (space >= 0 && link >= 0 && list >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0 &&
        H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(list, false) >= 0)
        *set = H5Dcreate2(file, name, type, space, link, list, H5P_DEFAULT);
    status error = *set < 0 ? cannot_make(r->task.path, name) : SUCCESS;
    haddr_t at = error ? HADDR_UNDEF : H5Dget_offset(*set);
    *offset = at == HADDR_UNDEF ? -1 : (int64_t)at;
    if (!error && *offset < 0 && r->task.samples)
        error = status_fail(STATUS_INTERNAL, "data set \"%s\" has no place", name);
    if (list >= 0) H5Pclose(list);
    if (link >= 0) H5Pclose(link);
    if (space >= 0) H5Sclose(space);
    return error;
}

/* The data set of output i; owned. */
static status set_name(const struct results_task *task, int i, char **name) {
    const char *dataset = task->dataset && *task->dataset ? task->dataset : "y";
    bool group = dataset[strlen(dataset) - 1] == '/';
    while (*dataset == '/') dataset++;
    int length = group                 ? asprintf(name, "%s%s", dataset, task->name[i])
                 : task->noutputs == 1 ? asprintf(name, "%s", dataset)
                                       : asprintf(name, "%s%d", dataset, i);
    return length < 0 ? status_no_memory("a name", strlen(dataset)) : SUCCESS;
}

static status make_output(hid_t file, struct results *r, int i) {
    const struct shape *shape = &r->task.shape[i];
    hsize_t dim[SHAPE_MAX_RANK];
    hid_t set;
    char *name = NULL;
    for (int k = 0; k < shape->rank; k++) dim[k] = (hsize_t)shape->dim[k];
    dim[0] = (hsize_t)r->task.samples;
    STATUS_TRY(set_name(&r->task, i, &name));
    status error = make_set(file, r, name, H5T_IEEE_F32LE, shape->rank, dim, &set, &r->stream[i].offset);
    hdf5_close(set);
    free(name);
    return error;
}

static status write_names(hid_t set, hid_t type, const struct results_task *task, size_t width) {
    char *some = malloc(NAMES_AT_ONCE * width);
    if (!some) return status_no_memory("names of files", NAMES_AT_ONCE * width);
    status error = SUCCESS;
    for (int64_t first = 0; first < task->samples && !error; first += NAMES_AT_ONCE) {
        int64_t n = task->samples - first < NAMES_AT_ONCE ? task->samples - first : NAMES_AT_ONCE;
        hsize_t start = (hsize_t)first, count = (hsize_t)n;
        memset(some, 0, NAMES_AT_ONCE * width);
        for (int64_t i = 0; i < n; i++)
            memcpy(some + (size_t)i * width, task->file[first + i], strlen(task->file[first + i]));
        hid_t space = H5Dget_space(set), memory = H5Screate_simple(1, &count, NULL);
        if (space < 0 || memory < 0 ||
            H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) < 0 ||
            H5Dwrite(set, type, memory, space, H5P_DEFAULT, some) < 0)
            error = cannot_make(task->path, "file");
        if (memory >= 0) H5Sclose(memory);
        if (space >= 0) H5Sclose(space);
    }
    free(some);
    return error;
}

/* The names of the images, as texts of the longest one's length. */
static status make_names(hid_t file, const struct results *r) {
    size_t width = 1;
    hsize_t n = (hsize_t)r->task.samples;
    hid_t set = -1;
    int64_t offset;
    for (int64_t i = 0; i < r->task.samples; i++)
        if (strlen(r->task.file[i]) > width) width = strlen(r->task.file[i]);
    hid_t type = H5Tcopy(H5T_C_S1);
    status error = type >= 0 && H5Tset_size(type, width) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0 &&
                           H5Tset_cset(type, H5T_CSET_UTF8) >= 0
                       ? SUCCESS
                       : cannot_make(r->task.path, "file");
    if (!error) error = make_set(file, r, "file", type, 1, &n, &set, &offset);
    if (!error) error = write_names(set, type, &r->task, width);
    hdf5_close(set);
    if (type >= 0) H5Tclose(type);
    return error;
}

static status fill_file(hid_t file, struct results *r) {
    hsize_t n = (hsize_t)r->task.samples;
    hid_t set = -1;
    for (int i = 0; i < r->task.noutputs; i++) STATUS_TRY(make_output(file, r, i));
    if (r->task.skip_bad) {
        status error =
            make_set(file, r, "failed", H5T_STD_U8LE, 1, &n, &set, &r->stream[r->task.noutputs].offset);
        hdf5_close(set);
        STATUS_TRY(error);
    }
    if (r->task.file) STATUS_TRY(make_names(file, r));
    return hdf5_write_text(file, "model", r->task.model);
}

static status hdf5_streams(struct results *r) {
    char name[16];
    for (int i = 0; i < r->task.noutputs; i++) {
        snprintf(name, sizeof name, "y%d", i);
        STATUS_TRY(
            results_add_stream(r, name, shape_sample_count(&r->task.shape[i]) * (int64_t)sizeof(float), 0));
    }
    return r->task.skip_bad ? results_add_stream(r, "failed", 1, 0) : SUCCESS;
}

/* HDF5 cannot close a file that may not be as long as it is: a limit is looked at before. */
static status check_limit(const struct results *r) {
    struct rlimit limit;
    double nbytes = 0;
    for (int i = 0; i < r->nstreams; i++) nbytes += (double)r->stream[i].row * (double)r->task.samples;
    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY || nbytes < (double)limit.rlim_cur)
        return SUCCESS;
    return file_fail("write", r->task.path, EFBIG);
}

static status hdf5_lay_out(struct results *r, const char *path) {
    int64_t file = -1;
    STATUS_TRY(hdf5_streams(r));
    STATUS_TRY(check_limit(r));
    STATUS_TRY(hdf5_create(path, &file));
    status error = fill_file(file, r);
    if (error) hdf5_discard(file);
    else error = status_context(hdf5_finish(file), "cannot write %s", r->task.path);
    return error;
}

static status hdf5_encode(struct results *r, int stream, int64_t first, int64_t n, const float *const *y,
                          char *const *bad, const void **bytes, size_t *nbytes) {
    (void)first;
    *nbytes = (size_t)(n * r->stream[stream].row);
    if (stream < r->task.noutputs) {
        *bytes = y[stream];
        return SUCCESS;
    }
    STATUS_TRY(results_room(r, (size_t)n));
    for (int64_t i = 0; i < n; i++) r->text[i] = bad[i] != NULL;
    *bytes = r->text;
    return SUCCESS;
}

static status hdf5_publish(const struct comm *world, struct results *r) {
    return comm_agree(world, comm_is_root(world) ? file_commit(r->path, r->task.path) : SUCCESS);
}

const struct results_format results_hdf5 = {hdf5_lay_out, hdf5_streams, hdf5_encode, hdf5_publish};

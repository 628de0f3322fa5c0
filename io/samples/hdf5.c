/* HDF5: a data set (N, ...) of numbers of any kind, or for several inputs a group of them. */
#include "io/samples/format.h"

#include "io/file.h"
#include "io/keras/hdf5.h"

#include <hdf5.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_SLOTS 12421
#define CACHE_MAX_BYTES ((uint64_t)64 << 20) /* of a row of chunks; of larger ones none is kept */

struct hdf5_set {
    int64_t id; /* -1: not open */
    hid_t memory_type;
    struct dataset_info info;
};

struct hdf5_state {
    int fd;
    int64_t file;
    struct hdf5_set *set; /* [ninputs], owned */
};

/* ---- which data set ---- */

static const char *input_name(const struct samples *s, int i) {
    const struct graph *graph = s->task->graph;
    return graph->layer[graph->node[graph->input[i].node].layer].name;
}

/* The only data set of a file that has one; owned, NULL if there is none or several. */
static status only_set(int64_t file, char **path) {
    struct names names = {0};
    int found = 0;
    *path = NULL;
    STATUS_TRY(hdf5_list(file, &names));
    status error = SUCCESS;
    for (int i = 0; i < names.n && !error && found < 2; i++) {
        int64_t object = -1;
        error = hdf5_open_object(file, names.name[i], &object);
        if (object < 0 || !hdf5_is_dataset(object)) {
            hdf5_close(object);
            continue;
        }
        hdf5_close(object);
        free(*path);
        *path = strdup(names.name[i]);
        if (!*path) error = status_no_memory("a path", strlen(names.name[i]));
        found++;
    }
    names_clear(&names);
    if (error || found != 1) {
        free(*path);
        *path = NULL;
    }
    return error;
}

/* 1: there is such a data set; -1: there is something else. */
static status look(int64_t file, const char *path, int *there) {
    int64_t object = -1;
    STATUS_TRY(hdf5_open_object(file, path, &object));
    *there = object < 0 ? 0 : hdf5_is_dataset(object) ? 1 : -1;
    hdf5_close(object);
    return SUCCESS;
}

/* The path of input i's data set in the file, owned: NAME of an only input; NAME/<input>, NAMEi or NAME/i of
 * several. NAME is "x" unless it is given. */
static status find_path(const struct samples *s, const char *file_name, int64_t file, const char *name, int i,
                        char **path) {
    const char *of = name && *name ? name : "x";
    char *tried[4] = {NULL};
    int n = 0, there = 0;
    while (*of == '/') of++;
    bool known =
        s->ninputs > 1 ? asprintf(&tried[n++], "%s%d", of, i) >= 0 : (tried[n++] = strdup(of)) != NULL;
    known = known && asprintf(&tried[n++], "%s/%s", of, input_name(s, i)) >= 0;
    known = known && asprintf(&tried[n++], "%s/%d", of, i) >= 0;
    status error = known ? SUCCESS : status_no_memory("a path", strlen(of));
    *path = NULL;
    for (int k = 0; k < n && !error && !*path; k++) {
        error = look(file, tried[k], &there);
        if (!error && there > 0) {
            *path = tried[k];
            tried[k] = NULL;
        }
    }
    if (!error && !*path && s->ninputs == 1 && !name) error = only_set(file, path);
    if (!error && !*path)
        error =
            status_fail(STATUS_DATA,
                        s->ninputs == 1 ? "%s has no data set \"%s\"; give its name, FILE:NAME"
                                        : "%s has no data set \"%s\" or \"%s\" for an input of the model",
                        file_name, s->ninputs == 1 || !tried[0] ? of : tried[0], tried[1] ? tried[1] : "");
    for (int k = 0; k < n; k++) free(tried[k]);
    return error;
}

/* ---- what is in it ---- */

static const char *kind_of(H5T_class_t class, bool byte) {
    return byte ? "uint8" : class == H5T_INTEGER ? "whole numbers" : "floating-point numbers";
}

/* Opens a data set anew with as much memory for its chunks as one row of them takes. */
static status keep_chunks(int64_t file, const char *path, struct hdf5_set *set) {
    hsize_t chunk[H5S_MAX_RANK];
    const struct shape *shape = &set->info.shape;
    hid_t list = H5Dget_create_plist(set->id), access = -1;
    bool chunked = list >= 0 && H5Pget_layout(list) == H5D_CHUNKED &&
                   H5Pget_chunk(list, H5S_MAX_RANK, chunk) == shape->rank;
    if (list >= 0) H5Pclose(list);
    if (!chunked) return SUCCESS;
    uint64_t nbytes = set->info.size;
    for (int i = 0; i < shape->rank; i++) {
        uint64_t along = i ? ((uint64_t)shape->dim[i] + chunk[i] - 1) / chunk[i] * chunk[i] : chunk[0];
        if (__builtin_mul_overflow(nbytes, along, &nbytes)) nbytes = UINT64_MAX;
    }
    hdf5_close(set->id);
    set->id = -1;
    access = H5Pcreate(H5P_DATASET_ACCESS);
    if (access >= 0 &&
        H5Pset_chunk_cache(access, CACHE_SLOTS, nbytes <= CACHE_MAX_BYTES ? nbytes : 0, 1) >= 0)
        set->id = H5Dopen2(file, path, access);
    if (access >= 0) H5Pclose(access);
    return set->id < 0 ? status_fail(STATUS_DATA, "cannot be opened: the file is damaged") : SUCCESS;
}

static status open_set(int64_t file, const char *path, struct hdf5_set *set, struct samples_input *input) {
    STATUS_TRY(hdf5_open_object(file, path, &set->id));
    STATUS_TRY(hdf5_inspect(set->id, &set->info));
    STATUS_TRY(keep_chunks(file, path, set));
    hid_t type = H5Dget_type(set->id);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    bool byte = class == H5T_INTEGER && H5Tget_size(type) == 1 && H5Tget_sign(type) == H5T_SGN_NONE;
    if (type >= 0) H5Tclose(type);
    set->memory_type = byte ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT;
    if (set->info.shape.rank < 1) return status_fail(STATUS_DATA, "is a single number, no samples (N, ...)");
    if (set->info.numbers == NUMBERS_BFLOAT16 && set->info.shape.rank < 2)
        return status_fail(STATUS_DATA, "is a row of bfloat16; give samples as (N, ...)");
    input->dtype = byte ? DTYPE_U8 : DTYPE_F32;
    input->kind = kind_of(class, byte);
    input->stored = set->info.shape;
    if (input->stored.rank == 1) input->stored.dim[input->stored.rank++] = 1; /* (N) is N samples of one */
    input->stored.dim[0] = SHAPE_UNKNOWN;
    return SUCCESS;
}

static status open_input(struct samples *s, const char *file, const char *name, int i) {
    struct hdf5_state *h = s->state;
    struct samples_input *input = &s->input[i];
    char *path = NULL;
    STATUS_TRY(find_path(s, file, h->file, name, i, &path));
    status error = asprintf(&input->name, "%s:%s", file, path) < 0 ? status_no_memory("a path", 0) : SUCCESS;
    if (error) input->name = NULL;
    if (!error) error = status_context(open_set(h->file, path, &h->set[i], input), "%s", input->name);
    free(path);
    STATUS_TRY(error);
    int64_t n = h->set[i].info.shape.dim[0];
    if (i && n != s->n)
        return status_fail(STATUS_DATA, "%s has %" PRId64 " samples, and %s %" PRId64, input->name, n,
                           s->input[0].name, s->n);
    s->n = n;
    return SUCCESS;
}

static status samples_hdf5_open(struct samples *s, const char *file, const char *name) {
    struct hdf5_state *h = calloc(1, sizeof *h);
    int64_t size;
    if (!h) return status_no_memory("samples", sizeof *h);
    h->fd = -1;
    h->file = -1;
    s->state = h;
    h->set = calloc((size_t)s->ninputs + 1, sizeof *h->set);
    if (!h->set) return status_no_memory("samples", sizeof *h->set);
    for (int i = 0; i < s->ninputs; i++) h->set[i].id = -1;
    STATUS_TRY(samples_add_file(s, file));
    STATUS_TRY(file_open_input(file, &h->fd, &size));
    STATUS_TRY(hdf5_open(file, h->fd, &h->file));
    for (int i = 0; i < s->ninputs; i++) STATUS_TRY(open_input(s, file, name, i));
    return SUCCESS;
}

/* ---- reading ---- */

static status samples_hdf5_read(struct samples *s, int i, int64_t first, int64_t n, void *x, char **bad) {
    const struct hdf5_state *h = s->state;
    const struct hdf5_set *set = &h->set[i];
    (void)bad;
    if (set->info.numbers == NUMBERS_BFLOAT16) {
        int64_t rows, columns, each;
        shape_rows(&set->info.shape, &rows, &columns);
        each = rows / (s->n ? s->n : 1);
        return status_context(hdf5_read_rows(set->id, &set->info, first * each, n * each, x), "%s",
                              s->input[i].name);
    }
    hsize_t start[SHAPE_MAX_RANK] = {(hsize_t)first}, count[SHAPE_MAX_RANK];
    for (int k = 0; k < set->info.shape.rank; k++) count[k] = (hsize_t)set->info.shape.dim[k];
    count[0] = (hsize_t)n;
    hid_t space = H5Dget_space(set->id), memory = H5Screate_simple(set->info.shape.rank, count, NULL);
    herr_t done = -1;
    if (space >= 0 && memory >= 0 &&
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0)
        done = H5Dread(set->id, set->memory_type, memory, space, H5P_DEFAULT, x);
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    char text[HDF5_TEXT_MAX];
    if (done >= 0) return SUCCESS;
    return status_fail(
        STATUS_DATA, "cannot read samples %" PRId64 " to %" PRId64 " of %s (HDF5: %s); is the file complete?",
        first, first + n - 1, s->input[i].name, hdf5_last_error(text));
}

static void samples_hdf5_close(struct samples *s) {
    struct hdf5_state *h = s->state;
    if (!h) return;
    for (int i = 0; h->set && i < s->ninputs; i++) hdf5_close(h->set[i].id);
    hdf5_close(h->file);
    if (h->fd >= 0) close(h->fd);
    free(h->set);
    free(h);
    s->state = NULL;
}

const struct samples_format samples_hdf5 = {samples_hdf5_open, samples_hdf5_read, samples_hdf5_close};

#include "io/slice_file.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct slice_file {
    char *path;
    hid_t file;
};

status slice_file_create(const char *path, struct slice_file **file) {
    struct slice_file *f = calloc(1, sizeof *f);
    if (!f) return status_no_memory("a slice file", sizeof *f);
    f->path = strdup(path);
    if (!f->path) {
        free(f);
        return status_no_memory("a slice file", strlen(path));
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    f->file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (f->file < 0) {
        free(f->path);
        free(f);
        return status_fail(STATUS_IO, "cannot create \"%s\"; check that the folder is writable and the disk not full", path);
    }
    *file = f;
    return SUCCESS;
}

static hid_t open_or_create(struct slice_file *f, const char *tensor, int64_t rows, int64_t columns) {
    hid_t set = H5Dopen2(f->file, tensor, H5P_DEFAULT);
    if (set >= 0) return set;
    hsize_t size[2] = {(hsize_t)rows, (hsize_t)columns};
    hid_t space = H5Screate_simple(2, size, NULL), links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    set = H5Dcreate2(f->file, tensor, H5T_NATIVE_FLOAT, space, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(links);
    H5Sclose(space);
    return set;
}

/* Reads or writes a block of whole rows. */
static bool transfer(hid_t set, int64_t first, int64_t n, const float *from, float *to) {
    hid_t space = H5Dget_space(set);
    hsize_t size[2] = {0, 0};
    bool ok = space >= 0 && H5Sget_simple_extent_dims(space, size, NULL) == 2;
    hsize_t start[2] = {(hsize_t)first, 0}, count[2] = {(hsize_t)n, size[1]};
    hid_t memory = ok ? H5Screate_simple(2, count, NULL) : -1;
    ok = memory >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0;
    if (ok)
        ok = from ? H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, from) >= 0
                  : H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, to) >= 0;
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    return ok;
}

status slice_file_write(struct slice_file *f, const char *tensor, int64_t rows, int64_t columns, int64_t first, int64_t n,
                        const float *data) {
    hid_t set = open_or_create(f, tensor, rows, columns);
    bool ok = set >= 0 && transfer(set, first, n, data, NULL);
    if (set >= 0) ok = H5Dclose(set) >= 0 && ok;
    return ok ? SUCCESS : status_fail(STATUS_IO, "cannot write \"%s\" to \"%s\"; is the disk full?", tensor, f->path);
}

status slice_file_read(struct slice_file *f, const char *tensor, int64_t first, int64_t n, float *data) {
    hid_t set = H5Dopen2(f->file, tensor, H5P_DEFAULT);
    bool ok = set >= 0 && transfer(set, first, n, NULL, data);
    if (set >= 0) H5Dclose(set);
    return ok ? SUCCESS : status_fail(STATUS_IO, "cannot read \"%s\" from \"%s\"", tensor, f->path);
}

status slice_file_flush(struct slice_file *f) {
    if (H5Fflush(f->file, H5F_SCOPE_LOCAL) < 0)
        return status_fail(STATUS_IO, "cannot write \"%s\"; is the disk full?", f->path);
    return SUCCESS;
}

void slice_file_remove(struct slice_file **file) {
    if (!*file) return;
    H5Fclose((*file)->file);
    unlink((*file)->path);
    free((*file)->path);
    free(*file);
    *file = NULL;
}

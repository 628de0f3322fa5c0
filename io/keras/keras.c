/* Models of any container: opening, and reading weights. */
#include "io/keras.h"

#include "io/file.h"
#include "io/keras/reader.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct keras_file {
    char *path;                /* owned */
    struct reader_found found; /* without its graph */
    struct reader *reader;     /* NULL: no weight has to be decoded */
    int *fd;                   /* [files of the places], -1: not open yet */
    int64_t bytes_read;
};

void keras_close(struct keras_file **file) {
    struct keras_file *f = *file;
    if (!f) return;
    reader_close(&f->reader);
    for (int i = 0; f->fd && i < f->found.places.nfiles; i++)
        if (f->fd[i] >= 0) close(f->fd[i]);
    free(f->fd);
    reader_found_clear(&f->found);
    free(f->path);
    free(f);
    *file = NULL;
}

/* Places in `path` itself are read from `fd`, which is the caller's if it is not needed. */
static status keep_files(struct keras_file *f, int *fd) {
    const struct places *places = &f->found.places;
    f->fd = malloc(((size_t)places->nfiles + 1) * sizeof *f->fd);
    if (!f->fd) return status_no_memory("a list of files", (size_t)places->nfiles * sizeof *f->fd);
    for (int i = 0; i < places->nfiles; i++) {
        bool this_one = !strcmp(places->file[i], f->path);
        f->fd[i] = this_one ? *fd : -1;
        if (this_one) *fd = -1;
    }
    return SUCCESS;
}

static status open_model(struct keras_file *f, const struct keras_options *options) {
    int64_t size;
    int fd;
    STATUS_TRY(file_open_input(f->path, &fd, &size));
    status error = reader_open(f->path, fd, size, options, &f->reader, &f->found);
    if (!error) error = keep_files(f, &fd);
    if (fd >= 0) close(fd);
    return error;
}

status keras_open(const char *path, const struct keras_options *options, struct keras_file **file,
                  struct graph **graph) {
    struct keras_file *f = calloc(1, sizeof *f);
    if (f) f->path = strdup(path);
    status error = f && f->path ? open_model(f, options) : status_no_memory("a model file", sizeof *f);
    if (!error) {
        *graph = f->found.topology.graph;
        f->found.topology.graph = NULL;
        topology_clear(&f->found.topology);
        *file = f;
        f = NULL;
    }
    keras_close(&f);
    return error;
}

const char *keras_container(const struct keras_file *file) {
    return file->found.kind->description;
}

/* ---- weights ---- */

/* Finite float32 have an exponent that is not all ones. */
static bool all_finite(const float *values, int64_t n) {
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

static status check_finite(const float *values, int64_t n, int64_t first) {
    if (all_finite(values, n)) return SUCCESS;
    int64_t i = 0;
    while (isfinite(values[i])) i++;
    return status_fail(STATUS_DATA, "is %s at element %lld; the model cannot be used",
                       isnan(values[i]) ? "NaN" : "infinite", (long long)(first + i));
}

static status open_place(struct keras_file *f, const struct place *place, int *fd) {
    int *open_fd = &f->fd[place->file];
    int64_t size;
    if (*open_fd < 0) STATUS_TRY(file_open_input(f->found.places.file[place->file], open_fd, &size));
    *fd = *open_fd;
    return SUCCESS;
}

/* Values that lie in a file as they are; each piece is checked while it is in the cache. */
static status read_plain(struct keras_file *f, const struct place *place, int64_t first, int64_t n,
                         float *values) {
    static const int64_t piece = 1 << 16;
    int fd = -1;
    STATUS_TRY(open_place(f, place, &fd));
    for (int64_t done = 0; done < n; done += piece) {
        char *to = (char *)(values + done);
        int64_t count = n - done < piece ? n - done : piece;
        size_t left = (size_t)count * sizeof *values;
        off_t at = (off_t)(place->offset + (first + done) * (int64_t)sizeof *values);
        while (left) {
            ssize_t got = pread(fd, to, left, at);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return file_fail("read", f->found.places.file[place->file], errno);
            if (got == 0) return status_fail(STATUS_DATA, "cannot be read: the file is truncated");
            to += got;
            at += got;
            left -= (size_t)got;
        }
        STATUS_TRY(check_finite(values + done, count, first + done));
    }
    return SUCCESS;
}

static status read_rows(struct keras_file *f, int number, int64_t first, int64_t nrows, float *rows) {
    const struct place *place = &f->found.places.place[number];
    int64_t all, columns;
    status error;
    shape_rows(&place->shape, &all, &columns);
    if (first < 0 || nrows < 0 || first > all - nrows) {
        error = status_fail(STATUS_INTERNAL, "has no rows %lld to %lld", (long long)first,
                            (long long)(first + nrows));
    } else if (place->offset >= 0) {
        error = read_plain(f, place, first * columns, nrows * columns, rows);
    } else {
        error = reader_read(f->reader, number, &place->shape, first, nrows, rows);
        if (!error) error = check_finite(rows, nrows * columns, first * columns);
    }
    if (!error) f->bytes_read += nrows * columns * (int64_t)place->size;
    return status_context(error, "%s: weight %s", f->path, place->path);
}

status keras_read_rows(struct keras_file *file, int layer, int weight, int64_t first, int64_t nrows,
                       float *rows) {
    const struct places *places = &file->found.places;
    if (layer < 0 || layer >= places->nlayers || weight < 0 ||
        weight >= places->first[layer + 1] - places->first[layer])
        return status_fail(STATUS_INTERNAL, "%s has no weight %d of layer %d", file->path, weight, layer);
    return read_rows(file, places->first[layer] + weight, first, nrows, rows);
}

status keras_read_params(struct keras_file *file, struct params *params) {
    const struct places *places = &file->found.places;
    if (params->n != places->n)
        return status_fail(STATUS_INTERNAL, "%s has %d weights, not %d", file->path, places->n, params->n);
    for (int i = 0; i < params->n; i++) {
        int64_t rows, columns;
        shape_rows(&places->place[i].shape, &rows, &columns);
        if (params->count[i] != rows * columns)
            return status_fail(STATUS_INTERNAL, "%s: weight %s has %lld elements, not %lld", file->path,
                               places->place[i].path, (long long)(rows * columns),
                               (long long)params->count[i]);
        STATUS_TRY(read_rows(file, i, 0, rows, params_at(params, i)));
    }
    return SUCCESS;
}

int64_t keras_bytes_read(const struct keras_file *file) {
    return file->bytes_read;
}

status keras_read_preprocessing(struct keras_file *file, char **json) {
    const char *kept = file->found.preprocessing;
    *json = kept ? strdup(kept) : NULL;
    return kept && !*json ? status_no_memory("the preprocessing", strlen(kept)) : SUCCESS;
}

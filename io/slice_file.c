#include "io/slice_file.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct part {
    char *tensor; /* owned */
    int64_t columns;
    off_t offset; /* of its first row */
};

struct slice_file {
    char *path; /* owned */
    int fd;
    int nparts;
    struct part *part; /* [nparts], room in powers of two */
    off_t end;
};

static void destroy(struct slice_file **file) {
    struct slice_file *f = *file;
    for (int i = 0; i < f->nparts; i++) free(f->part[i].tensor);
    free(f->part);
    free(f->path);
    free(f);
    *file = NULL;
}

status slice_file_create(const char *path, struct slice_file **file) {
    struct slice_file *f = calloc(1, sizeof *f);
    if (!f) return status_no_memory("a slice file", sizeof *f);
    f->path = strdup(path);
    if (!f->path) {
        destroy(&f);
        return status_no_memory("a slice file", strlen(path));
    }
    f->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        int code = errno;
        destroy(&f);
        return file_fail("create", path, code);
    }
    *file = f;
    return SUCCESS;
}

static const struct part *find(const struct slice_file *f, const char *tensor) {
    for (int i = f->nparts - 1; i >= 0; i--) /* usually the last one */
        if (!strcmp(f->part[i].tensor, tensor)) return &f->part[i];
    return NULL;
}

static status add(struct slice_file *f, const char *tensor, int64_t rows, int64_t columns,
                  const struct part **part) {
    int64_t count, nbytes;
    if (rows < 0 || columns < 0 || __builtin_mul_overflow(rows, columns, &count) ||
        __builtin_mul_overflow(count, (int64_t)sizeof(float), &nbytes))
        return status_fail(STATUS_INTERNAL, "\"%s\" is too large for a slice file", tensor);
    if (!(f->nparts & (f->nparts - 1))) {
        size_t room = f->nparts ? 2 * (size_t)f->nparts : 1;
        struct part *larger = realloc(f->part, room * sizeof *larger);
        if (!larger) return status_no_memory("a slice file", room * sizeof *larger);
        f->part = larger;
    }
    struct part *p = &f->part[f->nparts];
    *p = (struct part){.tensor = strdup(tensor), .columns = columns, .offset = f->end};
    if (!p->tensor) return status_no_memory("a slice file", strlen(tensor));
    f->nparts++;
    f->end += (off_t)nbytes;
    *part = p;
    return SUCCESS;
}

status slice_file_write(struct slice_file *f, const char *tensor, int64_t rows, int64_t columns,
                        int64_t first, int64_t n, const float *data) {
    const struct part *p = find(f, tensor);
    if (!p) STATUS_TRY(add(f, tensor, rows, columns, &p));
    size_t row = (size_t)p->columns * sizeof *data, nbytes = (size_t)n * row;
    off_t at = p->offset + (off_t)first * (off_t)row;
    for (size_t done = 0; done < nbytes;) {
        ssize_t written = pwrite(f->fd, (const char *)data + done, nbytes - done, at + (off_t)done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return file_fail("write", f->path, written ? errno : ENOSPC);
        done += (size_t)written;
    }
    return SUCCESS;
}

status slice_file_read(struct slice_file *f, const char *tensor, int64_t first, int64_t n, float *data) {
    const struct part *p = find(f, tensor);
    if (!p) return status_fail(STATUS_INTERNAL, "\"%s\" is not in %s", tensor, f->path);
    size_t row = (size_t)p->columns * sizeof *data, nbytes = (size_t)n * row;
    off_t at = p->offset + (off_t)first * (off_t)row;
    for (size_t done = 0; done < nbytes;) {
        ssize_t got = pread(f->fd, (char *)data + done, nbytes - done, at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return file_fail("read", f->path, errno);
        if (got == 0)
            return status_fail(STATUS_IO, "cannot read \"%s\" from %s: it ends too early; run again", tensor,
                               f->path);
        done += (size_t)got;
    }
    return SUCCESS;
}

status slice_file_flush(struct slice_file *f) {
    return fdatasync(f->fd) ? file_fail("write", f->path, errno) : SUCCESS;
}

void slice_file_remove(struct slice_file **file) {
    if (!*file) return;
    close((*file)->fd);
    unlink((*file)->path);
    destroy(file);
}

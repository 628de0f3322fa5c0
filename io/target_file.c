#include "io/target_begin.h"

#include "io/digest.h"
#include "io/file.h"
#include "io/journal_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct target_file {
    const struct graph *graph; /* borrowed */
    char *path, *journal_path; /* owned */
    int fd, journal_fd;
    struct journal *journal; /* as it was when the file was opened */
    int *first;              /* [nlayers + 1] first tensor of each layer */
    struct journal_lines lines;
};

void target_file_close(struct target_file **file) {
    struct target_file *f = *file;
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    if (f->journal_fd >= 0) close(f->journal_fd);
    journal_lines_forget(&f->lines);
    journal_destroy(&f->journal);
    free(f->first);
    free(f->path);
    free(f->journal_path);
    free(f);
    *file = NULL;
}

const char *target_file_path(const struct target_file *file) {
    return file->path;
}

static char *journal_of(const char *path) {
    char *journal = NULL;
    return asprintf(&journal, "%s.journal", path) < 0 ? NULL : journal;
}

void target_file_remove(const char *path) {
    char *journal = journal_of(path);
    if (journal) unlink(journal);
    free(journal);
    unlink(path);
}

/* ---- what all ranks do ---- */

static status number_tensors(struct target_file *f) {
    const struct graph *g = f->graph;
    int n = 0;
    STATUS_TRY(memory_alloc("tensors", (size_t)g->nlayers + 1, sizeof *f->first, (void **)&f->first));
    for (int l = 0; l < g->nlayers; l++) {
        f->first[l] = n;
        n += g->layer[l].nweights;
    }
    f->first[g->nlayers] = n;
    return n == f->journal->ntensors ? SUCCESS
                                     : status_fail(STATUS_INTERNAL, "%s has %d tensors, not %d",
                                                   f->journal_path, f->journal->ntensors, n);
}

static status not_seen(const struct target_file *f, const char *why) {
    return status_fail(STATUS_IO, "%s is not what rank 0 made: %s; its folder must be one that all ranks see",
                       f->path, why);
}

/* Is the journal in the folder the one that rank 0 wrote? */
static status check_folder(const struct target_file *f, const char *text) {
    bool same = false;
    STATUS_TRY(target_same_journal(f->journal_fd, f->journal_path, text, &same));
    return same ? SUCCESS : not_seen(f, "the journal is another");
}

static status open_here(struct target_file *f, const char *text) {
    size_t length = strlen(text);
    STATUS_TRY(journal_parse(text, length, &f->journal));
    if (!f->journal) return status_fail(STATUS_INTERNAL, "%s cannot be read", f->journal_path);
    STATUS_TRY(number_tensors(f));
    if (f->fd < 0 && (f->fd = open(f->path, O_RDWR | O_CLOEXEC)) < 0) return not_seen(f, strerror(errno));
    STATUS_TRY(target_lock(f->fd, LOCK_SH, f->path));
    f->journal_fd = open(f->journal_path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (f->journal_fd < 0) return not_seen(f, strerror(errno));
    journal_lines_begin(&f->lines, f->fd, f->path, f->journal_fd, f->journal_path);
    return check_folder(f, text);
}

status target_file_open(const struct comm *world, struct log *log, const struct target_task *task,
                        struct target_file **file) {
    struct target_file *f = calloc(1, sizeof *f);
    char *text = NULL, *mine = NULL;
    size_t length = 0;
    status error = f ? SUCCESS : status_no_memory("a target", sizeof *f);
    if (f) {
        *f = (struct target_file){
            .graph = task->graph, .fd = -1, .journal_fd = -1, .path = strdup(task->path)};
        f->journal_path = journal_of(task->path);
        if (!f->path || !f->journal_path) error = status_no_memory("a path", strlen(task->path));
    }
    if (!error && comm_is_root(world))
        error = target_begin(task, log, f->journal_path, &f->fd, &mine, &length);
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, mine, &text);
    if (!error) error = comm_agree(world, open_here(f, text));
    free(mine);
    free(text);
    if (error) target_file_close(&f);
    *file = f;
    return error;
}

/* ---- rows ---- */

static int number_of(const struct target_file *f, int layer, int weight) {
    return f->first[layer] + weight;
}

bool target_file_has(const struct target_file *f, int layer, int weight) {
    return f->journal->tensor[number_of(f, layer, weight)].place.offset >= 0;
}

bool target_file_knows(const struct target_file *f, int layer, int weight, int64_t first, int64_t n) {
    return journal_find(f->journal, number_of(f, layer, weight), first, n) != NULL;
}

/* Where rows lie. */
struct span {
    const struct journal_tensor *tensor;
    int64_t first, count; /* values */
    off_t at;
    size_t nbytes;
};

static status find_span(const struct target_file *f, int layer, int weight, int64_t first, int64_t n,
                        struct span *span) {
    const struct journal_tensor *t = &f->journal->tensor[number_of(f, layer, weight)];
    int64_t rows, columns, size = t->place.counts ? sizeof(int64_t) : sizeof(float);
    shape_rows(&f->graph->layer[layer].weight[weight].shape, &rows, &columns);
    if (t->place.offset < 0 || first < 0 || n < 0 || first > rows - n)
        return status_fail(STATUS_INTERNAL, "%s has no rows %" PRId64 " to %" PRId64 " of %s", f->path, first,
                           first + n, t->name);
    *span = (struct span){t, first * columns, n * columns, (off_t)(t->place.offset + first * columns * size),
                          (size_t)(n * columns * size)};
    return SUCCESS;
}

static status read_bytes(const struct target_file *f, const struct span *span, void *data) {
    for (size_t done = 0; done < span->nbytes;) {
        ssize_t n = pread(f->fd, (char *)data + done, span->nbytes - done, span->at + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return file_fail("read", f->path, errno);
        if (n == 0) return status_fail(STATUS_IO, "cannot read %s: it ends too early; run again", f->path);
        done += (size_t)n;
    }
    return SUCCESS;
}

static status write_bytes(const struct target_file *f, const struct span *span, const void *data) {
    for (size_t done = 0; done < span->nbytes;) {
        ssize_t n = pwrite(f->fd, (const char *)data + done, span->nbytes - done, span->at + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return file_fail("write", f->path, n ? errno : ENOSPC);
        done += (size_t)n;
    }
    return SUCCESS;
}

status target_file_read(struct target_file *f, int layer, int weight, int64_t first, int64_t n, float *rows) {
    struct span span = {0};
    STATUS_TRY(find_span(f, layer, weight, first, n, &span));
    if (!span.tensor->place.counts) return read_bytes(f, &span, rows);
    int64_t *counts = NULL;
    STATUS_TRY(memory_alloc("a chunk", (size_t)span.count, sizeof *counts, (void **)&counts));
    status error = read_bytes(f, &span, counts);
    for (int64_t i = 0; i < span.count && !error; i++) rows[i] = (float)counts[i];
    free(counts);
    return error;
}

status target_file_check(struct target_file *f, int layer, int weight, int64_t first, int64_t n, bool *same) {
    const struct journal_chunk *known = journal_find(f->journal, number_of(f, layer, weight), first, n);
    struct span span = {0};
    char *bytes = NULL, *digest = NULL;
    *same = false;
    if (!known) return SUCCESS;
    STATUS_TRY(find_span(f, layer, weight, first, n, &span));
    STATUS_TRY(memory_alloc("a chunk", span.nbytes, 1, (void **)&bytes));
    status error = read_bytes(f, &span, bytes);
    if (!error) error = bytes_digest(bytes, span.nbytes, &digest);
    if (!error) *same = !strcmp(digest, known->digest);
    free(digest);
    free(bytes);
    return error;
}

static status check_finite(const struct span *span, const float *values) {
    for (int64_t i = 0; i < span->count; i++)
        if (!isfinite(values[i]))
            return status_fail(STATUS_DATA,
                               "weight %s would be %s at element %" PRId64 "; the model is not written",
                               span->tensor->name, isnan(values[i]) ? "NaN" : "infinite", span->first + i);
    return SUCCESS;
}

/* Writes bytes that are as in the file. */
static status write_chunk(struct target_file *f, const struct span *span, struct journal_chunk *chunk,
                          const void *bytes) {
    char *digest = NULL;
    STATUS_TRY(write_bytes(f, span, bytes));
    /* The disk begins now, not only when it is waited for. */
    sync_file_range(f->fd, span->at, (off_t)span->nbytes, SYNC_FILE_RANGE_WRITE);
    STATUS_TRY(bytes_digest(bytes, span->nbytes, &digest));
    snprintf(chunk->digest, sizeof chunk->digest, "%s", digest);
    free(digest);
    return journal_lines_add(&f->lines, f->journal, chunk, (int64_t)span->nbytes);
}

status target_file_write(struct target_file *f, int layer, int weight, int64_t first, int64_t n,
                         const float *rows) {
    struct span span = {0};
    struct journal_chunk chunk = {.tensor = number_of(f, layer, weight), .first = first, .rows = n};
    STATUS_TRY(find_span(f, layer, weight, first, n, &span));
    STATUS_TRY(status_context(check_finite(&span, rows), "%s", f->path));
    if (!span.tensor->place.counts) return write_chunk(f, &span, &chunk, rows);
    int64_t *counts = NULL;
    STATUS_TRY(memory_alloc("a chunk", (size_t)span.count, sizeof *counts, (void **)&counts));
    for (int64_t i = 0; i < span.count; i++)
        counts[i] = fabsf(rows[i]) < 9e18f ? (int64_t)rows[i] : rows[i] > 0 ? INT64_MAX : INT64_MIN;
    status error = write_chunk(f, &span, &chunk, counts);
    free(counts);
    return error;
}

status target_file_sync(struct target_file *f) {
    return journal_lines_sync(&f->lines);
}

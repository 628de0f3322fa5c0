#include "io/target_file.h"

#include "io/digest.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_SECONDS 10 /* ranks of a run that was killed may take a while to end */
#define HEAD_BYTES ((size_t)4096)

/* What has been written but is not yet synced. */
#define SYNC_BYTES ((int64_t)64 << 20)
#define SYNC_CHUNKS 64
#define SYNC_SECONDS 1.0

struct target_file {
    const struct graph *graph; /* borrowed */
    char *path, *journal_path; /* owned */
    int fd, journal_fd;
    struct journal *journal; /* as it was when the file was opened */
    int *first;              /* [nlayers + 1] first tensor of each layer */
    char *line[SYNC_CHUNKS]; /* of chunks that are not synced yet */
    int nlines;
    int64_t unsynced; /* bytes */
    double synced_at;
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void target_file_close(struct target_file **file) {
    struct target_file *f = *file;
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    if (f->journal_fd >= 0) close(f->journal_fd);
    for (int i = 0; i < f->nlines; i++) free(f->line[i]);
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

/* ---- locks ---- */

/* Takes a lock, which ranks that are ending may still hold for a while. */
static status lock(int fd, int how, const char *path) {
    double start = seconds();
    while (flock(fd, how | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return SUCCESS; /* a file system without locks */
        if (seconds() - start > LOCK_SECONDS)
            return status_fail(STATUS_IO,
                               "another run is writing %s; wait for it, or give this one another name", path);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return SUCCESS;
}

/* Opens the file that has the name, made if there is none, and locks it: the one that still has it then. */
static status open_locked(const char *path, int *fd) {
    for (;;) {
        struct stat mine, named;
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (*fd < 0) return file_fail("write", path, errno);
        status error = lock(*fd, LOCK_EX, path);
        bool same = !error && fstat(*fd, &mine) == 0 && stat(path, &named) == 0 &&
                    mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
        if (same) return SUCCESS;
        close(*fd);
        *fd = -1;
        STATUS_TRY(error);
    }
}

/* ---- what is there, and what there is to be: rank 0 ---- */

static status read_journal(const char *path, struct journal **journal) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t length = 0;
    struct stat info;
    *journal = NULL;
    if (!file) return errno == ENOENT ? SUCCESS : file_fail("read", path, errno);
    status error = fstat(fileno(file), &info) ? file_fail("read", path, errno) : SUCCESS;
    if (!error) error = memory_alloc("a journal", (size_t)info.st_size + 1, 1, (void **)&text);
    if (!error) length = fread(text, 1, (size_t)info.st_size, file);
    if (!error && ferror(file)) error = file_fail("read", path, errno);
    if (!error) error = journal_parse(text, length, journal);
    free(text);
    fclose(file);
    return error;
}

/* Everything of the target but its values. */
static status target_digest(const struct target_task *task, char **digest) {
    char *json = NULL, *text = NULL;
    STATUS_TRY(keras_graph_to_json(task->graph, &json));
    int length = asprintf(&text, "%s\n%s\n%s\n%d\n", json, task->preprocessing ? task->preprocessing : "",
                          task->values, task->graph->keras_version);
    free(json);
    if (length < 0) return status_no_memory("a digest", 0);
    status error = bytes_digest(text, (size_t)length, digest);
    free(text);
    return error;
}

static char *copy_of(const char *text) {
    return strdup(text ? text : "none");
}

/* The journal of the task, without places and chunks. */
static status begin_journal(const struct target_task *task, struct journal **journal) {
    struct journal *j = calloc(1, sizeof *j);
    if (!j) return status_no_memory("a journal", sizeof *j);
    *j = (struct journal){
        .program = copy_of(task->program), .source = copy_of(task->source), .chunk_bytes = task->chunk_bytes};
    status error =
        j->program && j->source ? target_digest(task, &j->target) : status_no_memory("a journal", 0);
    if (error) journal_destroy(&j);
    *journal = j;
    return error;
}

static status draw_run(struct journal *journal) {
    return getrandom(&journal->run, sizeof journal->run, 0) == (ssize_t)sizeof journal->run
               ? SUCCESS
               : status_fail(STATUS_IO, "no random numbers from the system");
}

/* What the file that is there is of another of; NULL: it can be gone on with. */
static const char *difference(const struct journal *there, const struct journal *task, int fd) {
    struct stat info;
    if (strcmp(there->source, task->source)) return "source";
    if (strcmp(there->program, task->program)) return "program";
    if (there->chunk_bytes != task->chunk_bytes) return "size of chunks";
    if (strcmp(there->target, task->target)) return "target";
    if (fstat(fd, &info) || info.st_size != there->file_bytes) return "size";
    return NULL;
}

static status name_tensors(const struct graph *graph, const struct keras_place *place, struct journal *j) {
    int n = 0;
    for (int l = 0; l < graph->nlayers; l++) n += graph->layer[l].nweights;
    STATUS_TRY(memory_alloc("a journal", (size_t)n + 1, sizeof *j->tensor, (void **)&j->tensor));
    for (int l = 0; l < graph->nlayers; l++)
        for (int w = 0; w < graph->layer[l].nweights; w++) {
            struct journal_tensor *t = &j->tensor[j->ntensors];
            if (asprintf(&t->name, "%s/%s", graph->layer[l].name, graph->layer[l].weight[w].name) < 0) {
                t->name = NULL;
                return status_no_memory("a journal", 0);
            }
            t->place = place[j->ntensors++];
        }
    return SUCCESS;
}

/* Lays out a file under a temporary name, locks it, and puts it in the place of the one that is open. */
static status lay_out(const struct target_task *task, struct journal *journal, int *fd) {
    char *temporary = NULL;
    struct keras_place *place = NULL;
    struct stat info;
    int made = -1, n = 0;
    for (int l = 0; l < task->graph->nlayers; l++) n += task->graph->layer[l].nweights;
    STATUS_TRY(file_temporary(task->path, &temporary));
    status error = memory_alloc("places", (size_t)n + 1, sizeof *place, (void **)&place);
    if (!error) error = keras_lay_out(temporary, task->graph, task->preprocessing, place);
    if (!error) error = name_tensors(task->graph, place, journal);
    if (!error && (made = open(temporary, O_RDWR | O_CLOEXEC)) < 0)
        error = file_fail("write", task->path, errno);
    if (!error) error = lock(made, LOCK_EX, task->path);
    if (!error && fstat(made, &info)) error = file_fail("write", task->path, errno);
    if (error) file_abandon(temporary);
    else error = file_commit(temporary, task->path);
    free(temporary);
    free(place);
    if (error) {
        if (made >= 0) close(made);
        return error;
    }
    journal->file_bytes = info.st_size;
    close(*fd);
    *fd = made;
    return SUCCESS;
}

/* Goes on with what is there or begins anew; *text is the journal then, as it is on the disk. */
static status prepare(const struct target_task *task, struct log *log, struct target_file *f, char **text,
                      size_t *length) {
    struct journal *there = NULL, *journal = NULL;
    STATUS_TRY(open_locked(task->path, &f->fd));
    status error = read_journal(f->journal_path, &there);
    if (!error) error = begin_journal(task, &journal);
    if (!error && there) {
        const char *other = difference(there, journal, f->fd);
        if (other) log_line(log, LOG_INFO, "%s is of another %s: it is made anew", f->path, other);
        if (other) journal_destroy(&there);
    }
    bool anew = !there;
    if (!error && anew) {
        unlink(f->journal_path);            /* it must not tell of the new file */
        if (ftruncate(f->fd, 0)) errno = 0; /* the disk may not have room for both; else lay_out finds out */
        error = lay_out(task, journal, &f->fd);
    } else if (!error) {
        journal_destroy(&journal);
        journal = there;
        there = NULL;
    }
    if (!error) error = draw_run(journal);
    if (!error) error = journal_print(journal, text, length);
    if (!error) error = file_write_atomic(f->journal_path, *text, *length);
    if (error && anew) target_file_remove(f->path);
    journal_destroy(&journal);
    journal_destroy(&there);
    return error;
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

/* Is the journal in the folder the one that rank 0 wrote? Its first bytes have a random number in them. */
static status check_folder(const struct target_file *f, const char *text, size_t length) {
    char head[HEAD_BYTES];
    size_t n = length < HEAD_BYTES ? length : HEAD_BYTES;
    ssize_t got = pread(f->journal_fd, head, n, 0);
    if (got < 0) return file_fail("read", f->journal_path, errno);
    return (size_t)got == n && !memcmp(head, text, n) ? SUCCESS : not_seen(f, "the journal is another");
}

static status open_here(struct target_file *f, const char *text) {
    size_t length = strlen(text);
    STATUS_TRY(journal_parse(text, length, &f->journal));
    if (!f->journal) return status_fail(STATUS_INTERNAL, "%s cannot be read", f->journal_path);
    STATUS_TRY(number_tensors(f));
    if (f->fd < 0 && (f->fd = open(f->path, O_RDWR | O_CLOEXEC)) < 0) return not_seen(f, strerror(errno));
    STATUS_TRY(lock(f->fd, LOCK_SH, f->path));
    f->journal_fd = open(f->journal_path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (f->journal_fd < 0) return not_seen(f, strerror(errno));
    f->synced_at = seconds();
    return check_folder(f, text, length);
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
    if (!error && comm_is_root(world)) error = prepare(task, log, f, &mine, &length);
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

/* The chunk's line, to be written when its bytes are on the disk. */
static status remember(struct target_file *f, const struct journal_chunk *chunk, int64_t nbytes) {
    STATUS_TRY(journal_line(f->journal, chunk, &f->line[f->nlines]));
    f->nlines++;
    f->unsynced += nbytes;
    if (f->nlines < SYNC_CHUNKS && f->unsynced < SYNC_BYTES && seconds() - f->synced_at < SYNC_SECONDS)
        return SUCCESS;
    return target_file_sync(f);
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
    return remember(f, chunk, (int64_t)span->nbytes);
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
    if (fdatasync(f->fd) != 0) return file_fail("write", f->path, errno);
    f->unsynced = 0;
    f->synced_at = seconds();
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) return status_no_memory("a journal", 0);
    for (int i = 0; i < f->nlines; i++) {
        fputs(f->line[i], out);
        free(f->line[i]);
    }
    f->nlines = 0;
    status error = fclose(out) ? status_no_memory("a journal", 0) : SUCCESS;
    /* In one write, so that the lines of several ranks do not mix. */
    for (size_t done = 0; done < length && !error;) {
        ssize_t n = write(f->journal_fd, text + done, length - done);
        if (n < 0 && errno != EINTR) error = file_fail("write", f->journal_path, errno);
        else if (n > 0) done += (size_t)n;
    }
    free(text);
    return error;
}

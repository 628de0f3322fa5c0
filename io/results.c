#include "io/results.h"

#include "io/digest.h"
#include "io/file.h"
#include "io/results/format.h"
#include "io/target_begin.h"
#include "io/target_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void results_close(struct results **results) {
    struct results *r = *results;
    if (!r) return;
    if (r->fd >= 0) close(r->fd);
    if (r->journal_fd >= 0) close(r->journal_fd);
    journal_lines_forget(&r->lines);
    journal_destroy(&r->journal);
    for (int i = 0; i < r->nstreams; i++) free(r->stream[i].name);
    free(r->stream);
    free(r->length);
    free(r->text);
    free(r->path);
    free(r->journal_path);
    free(r);
    *results = NULL;
}

void results_abandon(const struct comm *world, struct results **results) {
    if (*results && comm_is_root(world)) target_file_remove((*results)->path);
    results_close(results);
}

static bool ends_in(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcasecmp(text + n - m, ending);
}

status results_kind_find(const char *name, const char *path, enum results_kind *kind) {
    static const struct {
        const char *text;
        enum results_kind kind;
        bool ending;
    } known[] = {{"hdf5", RESULTS_HDF5, false},   {"csv", RESULTS_CSV, false},
                 {"jsonl", RESULTS_JSONL, false}, {".h5", RESULTS_HDF5, true},
                 {".hdf5", RESULTS_HDF5, true},   {".csv", RESULTS_CSV, true},
                 {".jsonl", RESULTS_JSONL, true}, {".ndjson", RESULTS_JSONL, true}};
    bool automatic = !name || !strcmp(name, "auto");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (automatic ? !known[i].ending || !ends_in(path, known[i].text)
                      : known[i].ending || strcmp(name, known[i].text) != 0)
            continue;
        *kind = known[i].kind;
        return SUCCESS;
    }
    if (!automatic) return status_fail(STATUS_USAGE, "--format=%s: choose auto, hdf5, csv or jsonl", name);
    return status_fail(
        STATUS_USAGE,
        "cannot tell the format of %s; let its name end in .h5, .csv or .jsonl, or give --format", path);
}

/* ---- streams ---- */

status results_add_stream(struct results *r, const char *name, int64_t row, int64_t slot) {
    struct results_stream *grown = realloc(r->stream, ((size_t)r->nstreams + 1) * sizeof *grown);
    if (!grown) return status_no_memory("results", sizeof *grown);
    r->stream = grown;
    grown[r->nstreams] = (struct results_stream){.name = strdup(name), .row = row, .slot = slot};
    if (!grown[r->nstreams].name) return status_no_memory("results", strlen(name));
    r->nstreams++;
    return SUCCESS;
}

status results_room(struct results *r, size_t nbytes) {
    if (nbytes <= r->room) return SUCCESS;
    char *grown = realloc(r->text, nbytes);
    if (!grown) return status_no_memory("results", nbytes);
    r->text = grown;
    r->room = nbytes;
    return SUCCESS;
}

/* What is beyond the file's end is zeros. */
status results_pread(int fd, const char *path, void *data, size_t nbytes, int64_t at) {
    for (size_t done = 0; done < nbytes;) {
        ssize_t n = pread(fd, (char *)data + done, nbytes - done, (off_t)at + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return file_fail("read", path, errno);
        if (n == 0) {
            memset((char *)data + done, 0, nbytes - done);
            break;
        }
        done += (size_t)n;
    }
    return SUCCESS;
}

status results_pwrite(int fd, const char *path, const void *data, size_t nbytes, int64_t at) {
    for (size_t done = 0; done < nbytes;) {
        ssize_t n = pwrite(fd, (const char *)data + done, nbytes - done, (off_t)at + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return file_fail("write", path, n ? errno : ENOSPC);
        done += (size_t)n;
    }
    return SUCCESS;
}

int64_t results_blocks(const struct results *results) {
    return results->nblocks;
}

void results_block(const struct results *r, int64_t block, int64_t *first, int64_t *n) {
    *first = block * r->task.block;
    *n = r->task.samples - *first < r->task.block ? r->task.samples - *first : r->task.block;
}

const char *results_path(const struct results *results) {
    return results->path;
}

/* ---- beginning ---- */

static status begin_journal(const struct results *r, struct journal **journal) {
    const struct results_task *task = &r->task;
    char *text = NULL;
    struct journal *j = calloc(1, sizeof *j);
    if (!j) return status_no_memory("a journal", sizeof *j);
    *j = (struct journal){
        .program = strdup(task->model), .source = strdup(task->input), .chunk_bytes = task->block};
    status error = j->program && j->source ? SUCCESS : status_no_memory("a journal", 0);
    if (!error && asprintf(&text, "%s\n%d %s %d %d %lld", task->settings, (int)task->kind,
                           task->dataset ? task->dataset : "", task->top, task->skip_bad,
                           (long long)task->samples) < 0) {
        text = NULL;
        error = status_no_memory("a journal", 0);
    }
    if (!error) error = bytes_digest(text, strlen(text), &j->target);
    free(text);
    if (error) journal_destroy(&j);
    *journal = j;
    return error;
}

/* What the file that is there is of another of; NULL: it can be gone on with. */
static const char *difference(const struct journal *there, const struct journal *task, int fd) {
    struct stat info;
    if (strcmp(there->program, task->program)) return "model";
    if (strcmp(there->source, task->source)) return "input";
    if (strcmp(there->target, task->target) || there->chunk_bytes != task->chunk_bytes) return "setting";
    if (fstat(fd, &info) || info.st_size < there->file_bytes) return "size";
    return NULL;
}

static status name_streams(const struct results *r, struct journal *j) {
    STATUS_TRY(memory_alloc("a journal", (size_t)r->nstreams + 1, sizeof *j->tensor, (void **)&j->tensor));
    for (int i = 0; i < r->nstreams; i++) {
        j->tensor[i] =
            (struct journal_tensor){.name = strdup(r->stream[i].name), .place = {r->stream[i].offset, false}};
        if (!j->tensor[i].name) return status_no_memory("a journal", 0);
        j->ntensors++;
    }
    return SUCCESS;
}

/* Makes the file under a temporary name, locks it, and puts it in the place of the one that is open. */
static status make_file(struct results *r, struct journal *journal) {
    char *temporary = NULL;
    struct stat info;
    int made = -1;
    STATUS_TRY(file_temporary(r->path, &temporary));
    status error = r->format->lay_out(r, temporary);
    if (!error) error = name_streams(r, journal);
    if (!error && (made = open(temporary, O_RDWR | O_CLOEXEC)) < 0)
        error = file_fail("write", r->path, errno);
    if (!error) error = target_lock(made, LOCK_EX, r->path);
    if (!error && fstat(made, &info)) error = file_fail("write", r->path, errno);
    if (error) file_abandon(temporary);
    else error = file_commit(temporary, r->path);
    free(temporary);
    if (error) {
        if (made >= 0) close(made);
        return error;
    }
    journal->file_bytes = info.st_size;
    close(r->fd);
    r->fd = made;
    return SUCCESS;
}

/* On rank 0: the file, and the text of its journal (owned). */
static status begin(struct results *r, struct log *log, char **text) {
    struct journal *there = NULL, *journal = NULL;
    size_t length = 0;
    STATUS_TRY(target_open_locked(r->path, &r->fd));
    status error = target_read_journal(r->journal_path, &there);
    if (!error) error = begin_journal(r, &journal);
    if (!error && there) {
        const char *other = difference(there, journal, r->fd);
        if (other) log_line(log, LOG_INFO, "%s is of another %s: it is made anew", r->path, other);
        if (other) journal_destroy(&there);
    }
    bool anew = !there;
    if (!error && anew) {
        unlink(r->journal_path); /* it must not tell of the new file */
        error = make_file(r, journal);
    } else if (!error) {
        journal_destroy(&journal);
        journal = there;
        there = NULL;
    }
    if (!error) error = target_draw_run(journal);
    if (!error) error = journal_print(journal, text, &length);
    if (!error) error = file_write_atomic(r->journal_path, *text, length);
    if (error && anew) target_file_remove(r->path);
    journal_destroy(&journal);
    journal_destroy(&there);
    return error;
}

static status not_seen(const struct results *r, const char *why) {
    return status_fail(STATUS_IO, "%s is not what rank 0 made: %s; its folder must be one that all ranks see",
                       r->path, why);
}

static status take_places(struct results *r) {
    if (!r->nstreams) STATUS_TRY(r->format->streams(r));
    if (r->journal->ntensors != r->nstreams)
        return status_fail(STATUS_INTERNAL, "%s has %d streams, not %d", r->journal_path,
                           r->journal->ntensors, r->nstreams);
    for (int i = 0; i < r->nstreams; i++) r->stream[i].offset = r->journal->tensor[i].place.offset;
    return memory_alloc("a list of blocks", (size_t)r->nblocks + 1, sizeof *r->length, (void **)&r->length);
}

static status open_here(struct results *r, const char *text) {
    bool same = false;
    STATUS_TRY(journal_parse(text, strlen(text), &r->journal));
    if (!r->journal) return status_fail(STATUS_INTERNAL, "%s cannot be read", r->journal_path);
    STATUS_TRY(take_places(r));
    if (r->fd < 0 && (r->fd = open(r->path, O_RDWR | O_CLOEXEC)) < 0) return not_seen(r, strerror(errno));
    STATUS_TRY(target_lock(r->fd, LOCK_SH, r->path));
    r->journal_fd = open(r->journal_path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (r->journal_fd < 0) return not_seen(r, strerror(errno));
    journal_lines_begin(&r->lines, r->fd, r->path, r->journal_fd, r->journal_path);
    STATUS_TRY(target_same_journal(r->journal_fd, r->journal_path, text, &same));
    return same ? SUCCESS : not_seen(r, "the journal is another");
}

/* <folder>/.<name>.prediction, and its journal. */
static status name_files(struct results *r) {
    const char *path = r->task.path, *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    struct stat info;
    if (!*base)
        return status_fail(STATUS_IO, "cannot write '%s': it names no file; give the name of one", path);
    if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* a link too: it would be replaced */
        return status_fail(STATUS_IO, "cannot write %s: it is no file; give the name of a file", path);
    if (asprintf(&r->path, "%.*s.%s.prediction", (int)(base - path), path, base) < 0) {
        r->path = NULL;
        return status_no_memory("a path", strlen(path));
    }
    if (asprintf(&r->journal_path, "%s.journal", r->path) < 0) {
        r->journal_path = NULL;
        return status_no_memory("a path", strlen(path));
    }
    return SUCCESS;
}

status results_open(const struct comm *world, struct log *log, const struct results_task *task,
                    struct results **results) {
    struct results *r = calloc(1, sizeof *r);
    char *text = NULL, *mine = NULL;
    status error = r ? SUCCESS : status_no_memory("results", sizeof *r);
    if (r) {
        *r = (struct results){.format = task->kind == RESULTS_HDF5 ? &results_hdf5 : &results_text,
                              .task = *task,
                              .fd = -1,
                              .journal_fd = -1,
                              .nblocks = (task->samples + task->block - 1) / task->block};
        error = name_files(r);
    }
    if (!error && comm_is_root(world)) error = begin(r, log, &mine);
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, mine, &text);
    if (!error) error = comm_agree(world, open_here(r, text));
    free(mine);
    free(text);
    if (error) results_close(&r);
    *results = r;
    return error;
}

/* ---- blocks ---- */

/* Bytes of a block's stream and where they are; of texts as many as there may be. */
static void find_place(const struct results *r, int stream, int64_t block, int64_t *at, size_t *nbytes) {
    const struct results_stream *s = &r->stream[stream];
    int64_t first, n;
    results_block(r, block, &first, &n);
    *at = s->offset + (s->row ? first * s->row : block * s->slot);
    *nbytes = (size_t)(s->row ? n * s->row : s->slot);
}

/* Reads a block's stream back; a text ends before its first zero. */
static status check_stream(struct results *r, int stream, int64_t block, const struct journal_chunk *known,
                           bool *same) {
    size_t nbytes;
    int64_t at;
    char *digest = NULL;
    find_place(r, stream, block, &at, &nbytes);
    STATUS_TRY(results_room(r, nbytes));
    STATUS_TRY(results_pread(r->fd, r->path, r->text, nbytes, at));
    if (!r->stream[stream].row) r->length[block] = (int64_t)(nbytes = strnlen(r->text, nbytes));
    STATUS_TRY(bytes_digest(r->text, nbytes, &digest));
    *same = !strcmp(digest, known->digest);
    free(digest);
    return SUCCESS;
}

status results_check(struct results *r, int64_t block, bool *known, bool *same) {
    int64_t first, n;
    results_block(r, block, &first, &n);
    *known = *same = true;
    for (int i = 0; i < r->nstreams && *same; i++) {
        const struct journal_chunk *chunk = journal_find(r->journal, i, first, n);
        if (!chunk) *known = *same = false;
        else STATUS_TRY(check_stream(r, i, block, chunk, same));
    }
    if (!*same) r->length[block] = 0;
    return SUCCESS;
}

static status write_stream(struct results *r, int stream, int64_t block, const void *bytes, size_t nbytes) {
    struct journal_chunk chunk = {.tensor = stream};
    size_t most;
    int64_t at;
    char *digest = NULL;
    results_block(r, block, &chunk.first, &chunk.rows);
    find_place(r, stream, block, &at, &most);
    if (nbytes > most) return status_fail(STATUS_INTERNAL, "a block of %s has no place", r->task.path);
    STATUS_TRY(results_pwrite(r->fd, r->path, bytes, nbytes, at));
    /* The disk begins now, not only when it is waited for. */
    sync_file_range(r->fd, (off_t)at, (off_t)nbytes, SYNC_FILE_RANGE_WRITE);
    if (!r->stream[stream].row) r->length[block] = (int64_t)nbytes - 1; /* but for the zero */
    STATUS_TRY(bytes_digest(bytes, r->stream[stream].row ? nbytes : nbytes - 1, &digest));
    snprintf(chunk.digest, sizeof chunk.digest, "%s", digest);
    free(digest);
    return journal_lines_add(&r->lines, r->journal, &chunk, (int64_t)nbytes);
}

status results_write(struct results *r, int64_t block, const float *const *y, char *const *bad) {
    int64_t first, n;
    results_block(r, block, &first, &n);
    for (int i = 0; i < r->nstreams; i++) {
        const void *bytes = NULL;
        size_t nbytes = 0;
        STATUS_TRY(r->format->encode(r, i, first, n, y, bad, &bytes, &nbytes));
        STATUS_TRY(write_stream(r, i, block, bytes, nbytes));
    }
    return SUCCESS;
}

status results_sync(struct results *r) {
    return journal_lines_sync(&r->lines);
}

status results_publish(const struct comm *world, struct results **results) {
    struct results *r = *results;
    STATUS_TRY(r->format->publish(world, r));
    if (comm_is_root(world)) target_file_remove(r->path);
    results_close(results);
    return SUCCESS;
}

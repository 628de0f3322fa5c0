/* CSV and JSON lines: blocks of lines in places that are long enough, put together at the end. */
#include "io/file.h"
#include "io/results/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

static status text_streams(struct results *r) {
    int64_t slot, line = results_line_max(&r->task);
    if (__builtin_mul_overflow(line, r->task.block, &slot) || slot > INT64_MAX / (r->nblocks + 1))
        return status_fail(STATUS_USAGE, "%s would be too long for a text; write HDF5 (.h5)", r->task.path);
    return results_add_stream(r, "lines", 0, slot + 1);
}

static status text_lay_out(struct results *r, const char *path) {
    (void)path; /* it is there, and empty */
    return text_streams(r);
}

/* The lines and a zero after them. */
static status text_encode(struct results *r, int stream, int64_t first, int64_t n, const float *const *y,
                          char *const *bad, const void **bytes, size_t *nbytes) {
    const struct results_task *task = &r->task;
    (void)stream;
    free(r->text);
    r->text = NULL;
    r->room = 0;
    FILE *out = open_memstream(&r->text, &r->room);
    const float **at = calloc((size_t)task->noutputs + 1, sizeof *at);
    for (int64_t i = 0; i < n && out && at; i++) {
        for (int k = 0; k < task->noutputs; k++) at[k] = y[k] + i * shape_sample_count(&task->shape[k]);
        results_line(task, first + i, at, bad[i], out);
    }
    free(at);
    if (!out || fclose(out) || !at) return status_no_memory("lines", 0);
    *bytes = r->text;
    *nbytes = ++r->room; /* open_memstream ends it with a zero */
    return SUCCESS;
}

/* ---- putting it together ---- */

/* What begins the file; owned. */
static status head_of(const struct results *r, char **head, size_t *length) {
    FILE *out = open_memstream(head, length);
    if (!out) return status_no_memory("lines", 0);
    results_head(&r->task, out);
    return fclose(out) ? status_no_memory("lines", 0) : SUCCESS;
}

static status copy_block(struct results *r, int64_t block, int to, int64_t at) {
    int64_t from = r->stream[0].offset + block * r->stream[0].slot;
    STATUS_TRY(results_room(r, COPY_BYTES));
    for (int64_t done = 0; done < r->length[block];) {
        int64_t left = r->length[block] - done;
        size_t n = left < (int64_t)COPY_BYTES ? (size_t)left : COPY_BYTES;
        STATUS_TRY(results_pread(r->fd, r->path, r->text, n, from + done));
        STATUS_TRY(results_pwrite(to, r->task.path, r->text, n, at + done));
        done += (int64_t)n;
    }
    return SUCCESS;
}

/* This rank's part: every so manyth block. */
static status copy_blocks(const struct comm *world, struct results *r, const char *temporary) {
    char *head = NULL;
    size_t length = 0;
    int to = open(temporary, O_WRONLY | O_CLOEXEC);
    if (to < 0) return file_fail("write", r->task.path, errno);
    status error = head_of(r, &head, &length);
    if (!error && comm_is_root(world)) error = results_pwrite(to, r->task.path, head, length, 0);
    int64_t at = (int64_t)length;
    for (int64_t b = 0; b < r->nblocks && !error; b++) {
        if (b % comm_size(world) == comm_rank(world)) error = copy_block(r, b, to, at);
        at += r->length[b];
        comm_alive(world);
    }
    if (!error && fsync(to)) error = file_fail("write", r->task.path, errno);
    if (close(to) && !error) error = file_fail("write", r->task.path, errno);
    free(head);
    return error;
}

static status text_publish(const struct comm *world, struct results *r) {
    char *mine = NULL, *temporary = NULL;
    status error = comm_sum_i64(world, r->length, (size_t)r->nblocks);
    if (!error && comm_is_root(world)) error = file_temporary(r->task.path, &mine);
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, mine, &temporary);
    if (!error) error = comm_agree(world, copy_blocks(world, r, temporary));
    if (mine && !error) error = file_commit(mine, r->task.path);
    else if (mine) file_abandon(mine);
    error = comm_agree(world, error);
    free(mine);
    free(temporary);
    return error;
}

const struct results_format results_text = {text_lay_out, text_streams, text_encode, text_publish};

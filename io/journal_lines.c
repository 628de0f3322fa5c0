#include "io/journal_lines.h"

#include "io/file.h"
#include "shared/comm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What has been written but is not yet synced. */
#define SYNC_BYTES ((int64_t)64 << 20)
#define SYNC_SECONDS 1.0

void journal_lines_begin(struct journal_lines *lines, int fd, const char *path, int journal_fd,
                         const char *journal_path) {
    *lines = (struct journal_lines){.fd = fd,
                                    .journal_fd = journal_fd,
                                    .path = path,
                                    .journal_path = journal_path,
                                    .synced_at = comm_time()};
}

void journal_lines_forget(struct journal_lines *lines) {
    for (int i = 0; i < lines->n; i++) free(lines->line[i]);
    lines->n = 0;
    lines->unsynced = 0;
    lines->synced_at = comm_time();
}

status journal_lines_add(struct journal_lines *lines, const struct journal *journal,
                         const struct journal_chunk *chunk, int64_t nbytes) {
    STATUS_TRY(journal_line(journal, chunk, &lines->line[lines->n]));
    lines->n++;
    lines->unsynced += nbytes;
    if (lines->n < JOURNAL_LINES_MAX && lines->unsynced < SYNC_BYTES &&
        comm_time() - lines->synced_at < SYNC_SECONDS)
        return SUCCESS;
    return journal_lines_sync(lines);
}

/* In one write, so that the lines of several ranks do not mix. */
static status write_lines(const struct journal_lines *f) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) return status_no_memory("a journal", 0);
    for (int i = 0; i < f->n; i++) fputs(f->line[i], out);
    status error = fclose(out) ? status_no_memory("a journal", 0) : SUCCESS;
    for (size_t done = 0; done < length && !error;) {
        ssize_t n = write(f->journal_fd, text + done, length - done);
        if (n < 0 && errno != EINTR) error = file_fail("write", f->journal_path, errno);
        else if (n > 0) done += (size_t)n;
    }
    free(text);
    return error;
}

status journal_lines_sync(struct journal_lines *lines) {
    status error = fdatasync(lines->fd) ? file_fail("write", lines->path, errno) : write_lines(lines);
    journal_lines_forget(lines);
    return error;
}

/* The lines of a journal that are still to be written: a chunk gets its line when its bytes are on the disk.
 */
#ifndef GODWIT_IO_JOURNAL_LINES_H
#define GODWIT_IO_JOURNAL_LINES_H

#include "io/journal.h"

#define JOURNAL_LINES_MAX 64

struct journal_lines {
    int fd, journal_fd;              /* borrowed: of the file, and of its journal, open for appending */
    const char *path, *journal_path; /* borrowed */
    char *line[JOURNAL_LINES_MAX];   /* owned */
    int n;
    int64_t unsynced; /* bytes */
    double synced_at;
};

void journal_lines_begin(struct journal_lines *lines, int fd, const char *path, int journal_fd,
                         const char *journal_path);
/* nbytes of the chunk have been written to the file. Syncs by itself after 64 MiB, 64 lines or a second. */
status journal_lines_add(struct journal_lines *lines, const struct journal *journal,
                         const struct journal_chunk *chunk, int64_t nbytes) STATUS_MUST_USE;
/* Waits until all is on the disk, and then writes the lines. Bytes that could not be synced are lost, and so
 * are their lines: the system says so only once. */
status journal_lines_sync(struct journal_lines *lines) STATUS_MUST_USE;
void journal_lines_forget(struct journal_lines *lines);

#endif

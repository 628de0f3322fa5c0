/* Files: whole reads, and writes that are complete or absent. */
#ifndef GODWIT_IO_FILE_H
#define GODWIT_IO_FILE_H

#include "shared/status.h"

#include <stddef.h>
#include <stdint.h>

/* The whole of a text file as one owned, NUL-terminated string. Errors: IO; DATA if it is longer than
 * `max_bytes` or has a NUL byte in it. */
status file_read_text(const char *path, size_t max_bytes, char **text) STATUS_MUST_USE;
/* Opens a file, *size then its bytes, or a folder, *size then -1, for reading; never waits for a pipe's other
 * end. Error: IO, for what is neither too. */
status file_open_input(const char *path, int *fd, int64_t *size) STATUS_MUST_USE;
/* Replaces `path` by `nbytes` of `data`, synced to the disk; on an error `path` is what it was before. */
status file_write_atomic(const char *path, const void *data, size_t nbytes) STATUS_MUST_USE;

/* A temporary name beside `path` (owned; made as an empty file, hidden by a leading dot), to be written and
 * then given to file_commit, which syncs the file and its folder and renames it over `path`; file_abandon
 * removes it. A failed file_commit removes it too;
 * one of a process of this host that was killed is removed when the next is made for the same path. `path`
 * may not name a folder or a device. Error: IO. */
status file_temporary(const char *path, char **temporary) STATUS_MUST_USE;
status file_commit(const char *temporary, const char *path) STATUS_MUST_USE;
void file_abandon(const char *temporary); /* accepts NULL */

/* A file and one beside it, both complete: neither takes its name before both are written, so that a full
 * disk leaves what was there. With `error` both temporary names, which may be NULL, are abandoned, and it is
 * returned. Frees them. */
status file_commit_pair(status error, char *beside_temporary, const char *beside, char *temporary,
                        const char *path) STATUS_MUST_USE;

/* Another name for a file that is never changed, or a copy where the file system has no such names; `to` must
 * not be there. Error: IO. */
status file_double(const char *from, const char *to) STATUS_MUST_USE;

/* Are both there, and one and the same? */
bool file_same(const char *a, const char *b);
status file_make_folders(const char *path) STATUS_MUST_USE; /* mkdir -p */
/* An IO error "cannot <verb> <path>: <text of errno `error`>; <what to do>". */
status file_fail(const char *verb, const char *path, int error) STATUS_MUST_USE;

#endif

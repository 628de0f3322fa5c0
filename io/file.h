/* Files: whole reads, and writes that are complete or absent. */
#ifndef GODWIT_IO_FILE_H
#define GODWIT_IO_FILE_H

#include "shared/status.h"

#include <stddef.h>

status file_read_text(const char *path, size_t max_bytes, char **text) STATUS_MUST_USE; /* owned, NUL-terminated */
status file_write_atomic(const char *path, const void *data, size_t nbytes) STATUS_MUST_USE;

/* A temporary name beside `path` (owned), to be written and then given to file_commit, which syncs the file and
 * its folder and renames it over `path`; file_abandon removes it. */
status file_temporary(const char *path, char **temporary) STATUS_MUST_USE;
status file_commit(const char *temporary, const char *path) STATUS_MUST_USE;
void file_abandon(const char *temporary);

status file_make_folders(const char *path) STATUS_MUST_USE; /* mkdir -p */
/* "sha256:<hex>" of a file's bytes, owned. */
status file_digest(const char *path, char **digest) STATUS_MUST_USE;

#endif

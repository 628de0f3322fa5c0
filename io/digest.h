/* Digests: SHA-256 of bytes, files and folders, as owned text "sha256:<hex>". */
#ifndef GODWIT_IO_DIGEST_H
#define GODWIT_IO_DIGEST_H

#include "shared/log.h"

#include <stddef.h>

/* Of bytes in memory. */
status bytes_digest(const void *data, size_t nbytes, char **digest) STATUS_MUST_USE;

/* Of a file's bytes. Of a folder (a model of several files): of the lines "<name> <digest>\n" of the files
 * and folders in it, in order of their names (strcmp); names that begin with a dot are passed over. Errors:
 * IO. */
status file_digest(const char *path, char **digest) STATUS_MUST_USE;
/* The same; of a large file the log shows the progress. */
status file_digest_shown(const char *path, struct log *log, char **digest) STATUS_MUST_USE;

#endif

/* Memory in a file of a scratch folder, for more than fits memory: what the system has no room for it writes
 * to the file, and reads it again. Processes of one node that open the same file see the same memory. */
#ifndef GODWIT_IO_SCRATCH_H
#define GODWIT_IO_SCRATCH_H

#include <stddef.h>

#include "shared/status.h"

/* Bytes that the folder's file system has left for this user; 0 if that is not known. */
double scratch_free(const char *folder);

/* A new file of zeros with room for all of it; *path is owned by the caller, who removes it by file_abandon()
 * once all have opened it, so that it goes when they end. Error: IO. */
status scratch_create(const char *folder, size_t nbytes, char **path) STATUS_MUST_USE;

/* Its memory, until scratch_close(). Error: IO. */
status scratch_open(const char *path, size_t nbytes, void **data) STATUS_MUST_USE;
void scratch_close(void *data, size_t nbytes); /* accepts NULL */

#endif

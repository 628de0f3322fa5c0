/* Slice file: what one rank has migrated so far: the rows of each target tensor as float32 of this machine,
 * one tensor after the other in the order of their first writing, written chunk by chunk. Scratch of a run,
 * read by the process that wrote it and removed when it has been gathered. A plain file, because HDF5 cannot
 * close a file that a full disk has kept it from writing. Not collective. Errors: IO, naming the file. */
#ifndef GODWIT_IO_SLICE_FILE_H
#define GODWIT_IO_SLICE_FILE_H

#include "shared/status.h"

#include <stdint.h>

struct slice_file;

status slice_file_create(const char *path, struct slice_file **file) STATUS_MUST_USE;
/* Rows [first, first + n) of `tensor` ("layer/weight"), which has rows x columns; made at its first use. */
status slice_file_write(struct slice_file *file, const char *tensor, int64_t rows, int64_t columns,
                        int64_t first, int64_t n, const float *data) STATUS_MUST_USE;
status slice_file_read(struct slice_file *file, const char *tensor, int64_t first, int64_t n,
                       float *data) STATUS_MUST_USE;
status slice_file_flush(struct slice_file *file) STATUS_MUST_USE;
void slice_file_remove(struct slice_file **file); /* closes and deletes; accepts NULL */

#endif

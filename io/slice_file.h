/* Slice file: what one rank has migrated so far, in HDF5, one data set (rows, columns) of float32 for each
 * target tensor, written chunk by chunk. Scratch of a run, removed when it has been gathered. Not collective. */
#ifndef GODWIT_IO_SLICE_FILE_H
#define GODWIT_IO_SLICE_FILE_H

#include "shared/status.h"

#include <stdint.h>

struct slice_file;

status slice_file_create(const char *path, struct slice_file **file) STATUS_MUST_USE;
/* Rows [first, first + n) of `tensor` ("layer/weight"), which has rows x columns; made at its first use. */
status slice_file_write(struct slice_file *file, const char *tensor, int64_t rows, int64_t columns, int64_t first, int64_t n,
                        const float *data) STATUS_MUST_USE;
status slice_file_read(struct slice_file *file, const char *tensor, int64_t first, int64_t n, float *data) STATUS_MUST_USE;
status slice_file_flush(struct slice_file *file) STATUS_MUST_USE;
void slice_file_remove(struct slice_file **file); /* closes and deletes; accepts NULL */

#endif

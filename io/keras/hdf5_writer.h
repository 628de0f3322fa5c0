/* An HDF5 file of weights being written, in any order of rows. Where each weight goes is said by the format
 * (write_legacy.c, write_archive.c). Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_HDF5_WRITER_H
#define GODWIT_IO_KERAS_HDF5_WRITER_H

#include "io/keras.h"
#include "io/keras/hdf5.h"

struct hdf5_writer;

/* Creates the file `path`; messages call it `name`. `graph`, whose layers and weights are meant by number,
 * is borrowed until all are added. */
status hdf5_writer_create(const char *path, const char *name, const struct graph *graph,
                          struct hdf5_writer **writer) STATUS_MUST_USE;
/* The HDF5 file, for what is not weights. */
int64_t hdf5_writer_file(const struct hdf5_writer *writer);

/* Makes a group and those above it, which may be there already. */
status hdf5_writer_group(struct hdf5_writer *writer, const char *path, int64_t *group) STATUS_MUST_USE;
/* Gives a weight its dataset, of float32, or of int64 if it counts. Its groups are made as needed. */
status hdf5_writer_add(struct hdf5_writer *writer, int layer, int weight, const char *path) STATUS_MUST_USE;

bool hdf5_writer_has(const struct hdf5_writer *writer, int layer, int weight);

/* Errors: DATA for a value that is NaN or infinite, INTERNAL for rows that do not exist or of a weight that
 * was not added, IO. */
status hdf5_writer_rows(struct hdf5_writer *writer, int layer, int weight, int64_t first, int64_t nrows,
                        const float *rows) STATUS_MUST_USE;

/* Leaves the rows of a weight to the caller, who writes them into the finished file. While the graph is
 * there.
 */
status hdf5_writer_leave(struct hdf5_writer *writer, int layer, int weight,
                         struct keras_place *place) STATUS_MUST_USE;

/* Closes the file, complete (INTERNAL if rows are missing), or for good. Both accept NULL. */
status hdf5_writer_finish(struct hdf5_writer **writer) STATUS_MUST_USE;
void hdf5_writer_discard(struct hdf5_writer **writer);

#endif

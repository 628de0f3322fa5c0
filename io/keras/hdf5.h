/* Keras's HDF5 files: attributes, and datasets that are safe to read. Internal to io/keras.
 *
 * Ids are HDF5's hid_t. HDF5's own error printing is off from hdf5_start() on; plugins are never loaded. */
#ifndef GODWIT_IO_KERAS_HDF5_H
#define GODWIT_IO_KERAS_HDF5_H

#include "shared/tensor.h"

#define HDF5_MAX_NAMES (1 << 20)

/* Before any other call here; may be called again. */
void hdf5_start(void);

/* What HDF5 says about its last error: its innermost description; "" if none. In text[HDF5_TEXT_MAX]. */
#define HDF5_TEXT_MAX 160
const char *hdf5_last_error(char *text);

/* Do the first n bytes of a file say that it is HDF5? `head` may be NULL. */
bool hdf5_signature(const unsigned char *head, size_t n);

/* Opens for reading, serially, the file `fd`, named `path`. Errors: IO (cannot open), DATA (not HDF5, damaged
 * or truncated). */
status hdf5_open(const char *path, int fd, int64_t *file) STATUS_MUST_USE;
/* The same for a file that is in memory already, which stays there unchanged until it is closed. */
status hdf5_open_image(const void *image, size_t n, int64_t *file) STATUS_MUST_USE;
/* Creates for writing, in a format that HDF5 1.8 reads. */
status hdf5_create(const char *path, int64_t *file) STATUS_MUST_USE;

/* Writes all that HDF5 kept back, then closes. On an error the file is discarded. */
status hdf5_finish(int64_t file) STATUS_MUST_USE;
/* Closes a file whose contents no longer matter. HDF5 cannot close a file that it cannot write to: what it
 * still wants to write goes to memory instead. */
void hdf5_discard(int64_t file);

/* ---- attributes ---- */

/* A scalar string attribute, fixed or variable length, ASCII or UTF-8; owned. NULL if it is absent. */
status hdf5_read_text(int64_t object, const char *name, char **text) STATUS_MUST_USE;
status hdf5_write_text(int64_t object, const char *name, const char *text) STATUS_MUST_USE;

struct names {
    int n;
    char **name; /* owned */
};
void names_clear(struct names *names);

/* A list of names, which Keras splits into <name>0, <name>1, ... if it is too long for one attribute; empty
 * if absent. An empty list is an empty array of float64. */
status hdf5_read_names(int64_t object, const char *name, struct names *names) STATUS_MUST_USE;
status hdf5_write_names(int64_t object, const char *name, int n, char *const *names) STATUS_MUST_USE;

/* ---- links, groups, datasets ---- */

/* Opens the object at a relative path of which every link is a hard one. *object is -1 if there is no such
 * link. DATA error for soft, external and user-defined links. */
status hdf5_open_object(int64_t from, const char *path, int64_t *object) STATUS_MUST_USE;
bool hdf5_is_dataset(int64_t object);
/* Names of all links in a group, sorted; none if the object is not a group. */
status hdf5_list(int64_t group, struct names *names) STATUS_MUST_USE;
void hdf5_close(int64_t id); /* any id; accepts a negative one */

enum numbers {
    NUMBERS_FLOAT,
    NUMBERS_INTEGER,
    NUMBERS_BFLOAT16 /* as 16-bit integers or opaque values, which Keras 3 marks */
};

struct dataset_info {
    struct shape shape;
    enum numbers numbers;
    size_t size;    /* bytes of one element in the file */
    int64_t offset; /* in the file, of its values as plain little-endian float32; -1: stored otherwise */
};

/* Checks that a dataset holds floating-point numbers of 2, 4 or 8 bytes or integers, all of them, in the file
 * itself, compressed by nothing but deflate: DATA error otherwise, in words that follow a dataset's name. */
status hdf5_inspect(int64_t dataset, struct dataset_info *info) STATUS_MUST_USE;

/* As hdf5_open_object, for reading rows in pieces: chunks once decoded are kept for the next piece. */
status hdf5_open_dataset(int64_t from, const char *path, int64_t *dataset) STATUS_MUST_USE;

/* Reads or writes rows [first, first + nrows) of a dataset seen as a matrix whose columns are its last axis.
 */
status hdf5_read_rows(int64_t dataset, const struct dataset_info *info, int64_t first, int64_t nrows,
                      float *rows) STATUS_MUST_USE;
status hdf5_write_rows(int64_t dataset, const struct shape *shape, int64_t first, int64_t nrows,
                       const float *rows) STATUS_MUST_USE;

#endif

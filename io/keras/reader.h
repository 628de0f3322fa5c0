/* A container opened in a child process (io/child.h). Nothing of a file is parsed in this process that has
 * not been parsed there: HDF5 and the other libraries see it there only. Internal to io/keras.
 *
 * The child opens the container, parses the topology and finds the weights; it then says where they are, or
 * what is wrong. Values that lie in a file as they are need no child any more; others it decodes, in pieces,
 * into memory that both share. */
#ifndef GODWIT_IO_KERAS_READER_H
#define GODWIT_IO_KERAS_READER_H

#include "io/keras/container.h"

struct reader;

struct reader_found {
    const struct container_kind *kind;
    struct topology topology;
    struct places places;
    char *preprocessing; /* owned; JSON, NULL: none */
};

/* `fd` is `path`, open for reading: the child opens that, whatever the path names by then. Of the places
 * found, those with an offset lie within their files (`size` is that of `path`, -1 for a folder). Errors: as
 * keras_open's. `found` is to be cleared by the caller, on failure too. */
status reader_open(const char *path, int fd, int64_t size, const struct keras_options *options,
                   struct reader **reader, struct reader_found *found) STATUS_MUST_USE;
void reader_found_clear(struct reader_found *found);

/* As container_kind.read, of place `number`. */
status reader_read(struct reader *reader, int number, const struct shape *shape, int64_t first, int64_t nrows,
                   float *rows) STATUS_MUST_USE;

void reader_close(struct reader **reader); /* accepts NULL */

#endif

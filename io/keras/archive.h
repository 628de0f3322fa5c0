/* Zip archives for reading, by libzip, with what a hostile one could do ruled out first: names that are there
 * twice, absolute or lead upwards, encryption, methods other than stored and deflate, and entries that expand
 * beyond what is asked for. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_ARCHIVE_H
#define GODWIT_IO_KERAS_ARCHIVE_H

#include "shared/status.h"

#include <stddef.h>
#include <stdint.h>

struct archive;

/* Is this how a zip archive begins? */
bool archive_signature(const unsigned char *head, size_t n);

/* Opens the file `fd`, which stays the caller's. DATA error in words that follow its name. */
status archive_open(int fd, struct archive **archive) STATUS_MUST_USE;
void archive_close(struct archive **archive); /* accepts NULL */

bool archive_has(const struct archive *archive, const char *name);

/* An entry as one owned, NUL-terminated text, at most `max_bytes` long. DATA error if there is none. */
status archive_read_text(struct archive *archive, const char *name, size_t max_bytes,
                         char **text) STATUS_MUST_USE;

/* The bytes of an entry, mapped: those of the file itself if the entry is stored, else a copy in memory of at
 * most `max_bytes`. */
struct archive_bytes {
    const void *data;
    size_t n;
    int64_t offset; /* in the file; -1: a copy */
    void *map;      /* what to unmap */
    size_t map_bytes;
};
status archive_map(struct archive *archive, const char *name, size_t max_bytes,
                   struct archive_bytes *bytes) STATUS_MUST_USE;
void archive_unmap(struct archive_bytes *bytes); /* accepts one that is zero */

/* Bytes that an entry may expand to, by its size in the archive: `free_bytes` and `ratio` times that. */
status archive_limit(struct archive *archive, const char *name, size_t free_bytes, size_t ratio,
                     size_t *max_bytes) STATUS_MUST_USE;

#endif

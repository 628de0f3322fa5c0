/* Inside io/results*: what a kind of results implements. */
#ifndef GODWIT_IO_RESULTS_FORMAT_H
#define GODWIT_IO_RESULTS_FORMAT_H

#include "io/journal_lines.h"
#include "io/results.h"

#include <stdio.h>

/* Places for the blocks of something, one after the other. */
struct results_stream {
    char *name; /* owned */
    int64_t offset;
    int64_t row; /* bytes of a sample; 0: texts, of at most `slot` bytes a block */
    int64_t slot;
};

struct results_format {
    /* Makes the file `path`, with streams and their places. */
    status (*lay_out)(struct results *results, const char *path);
    /* The streams alone, without their places. */
    status (*streams)(struct results *results);
    /* The bytes of a block's stream; good until the next call. */
    status (*encode)(struct results *results, int stream, int64_t first, int64_t n, const float *const *y,
                     char *const *bad, const void **bytes, size_t *nbytes);
    /* Gives the complete file its name. Collective. */
    status (*publish)(const struct comm *world, struct results *results);
};

struct results {
    const struct results_format *format;
    struct results_task task;
    char *path, *journal_path; /* of the hidden file, owned */
    int fd, journal_fd;
    struct journal *journal;
    struct journal_lines lines;
    int nstreams;
    struct results_stream *stream; /* [nstreams], owned */
    int64_t nblocks;
    int64_t *length; /* [nblocks], owned: bytes of the blocks' texts that this rank knows; 0: others' */
    char *text;      /* of a block, owned */
    size_t room;
};

extern const struct results_format results_hdf5, results_text;

status results_add_stream(struct results *results, const char *name, int64_t row,
                          int64_t slot) STATUS_MUST_USE;
/* Room for so many bytes at results->text. */
status results_room(struct results *results, size_t nbytes) STATUS_MUST_USE;
status results_pread(int fd, const char *path, void *data, size_t nbytes, int64_t at) STATUS_MUST_USE;
status results_pwrite(int fd, const char *path, const void *data, size_t nbytes, int64_t at) STATUS_MUST_USE;

/* ---- lines of text, in io/results/line.c ---- */

/* What begins the file; "" in JSON lines. */
void results_head(const struct results_task *task, FILE *out);
/* The line of one sample: y[i] is its part of output i. */
void results_line(const struct results_task *task, int64_t sample, const float *const *y, const char *bad,
                  FILE *out);
/* More bytes than the line of a sample has. */
int64_t results_line_max(const struct results_task *task);

#endif

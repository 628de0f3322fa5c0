/* Journal of a file that is made chunk by chunk: which chunks of which tensors are in it for good, so that
 * whoever makes it can be killed and started again. Text, a line for each thing, and each line ends in the
 * CRC-32 of what is before, by which a torn line is told:
 *
 *   godwit journal 1                                  what it is
 *   program sha256:...                                what is made: of another program, source, target
 *   source sha256:...                                 or size of chunks the rest is worth nothing
 *   target sha256:...
 *   chunk 8388608
 *   bytes 4294985728                                  size of the file
 *   run 5f0c...                                       a random number of whoever wrote these lines
 *   place 4096 float32 "dense/kernel"                 where a tensor's values begin, for each tensor
 *   end
 *   done 0 128 sha256:... "dense/kernel"              rows 0 to 127 are in the file, and their digest
 *
 * Nothing here is collective. */
#ifndef GODWIT_IO_JOURNAL_H
#define GODWIT_IO_JOURNAL_H

#include "io/keras.h"

#define JOURNAL_DIGEST_MAX 80

struct journal_chunk {
    int tensor; /* number among the journal's */
    int64_t first, rows;
    char digest[JOURNAL_DIGEST_MAX]; /* of the bytes in the file */
};

struct journal_tensor {
    char *name; /* owned: "layer/weight" */
    struct keras_place place;
};

struct journal {
    char *program, *source, *target; /* owned: digests */
    int64_t chunk_bytes, file_bytes;
    uint64_t run;
    int ntensors;
    struct journal_tensor *tensor; /* [ntensors], owned */
    int64_t nchunks;
    struct journal_chunk *chunk; /* [nchunks] by tensor and first row, each once, owned */
};

/* Reads a journal from its text. *journal is NULL if its head is not whole; of the lines after it, those that
 * are torn or make no sense are left out. If a chunk is there twice, the later line counts. */
status journal_parse(const char *text, size_t length, struct journal **journal) STATUS_MUST_USE;
/* The journal's text; owned. */
status journal_print(const struct journal *journal, char **text, size_t *length) STATUS_MUST_USE;
void journal_destroy(struct journal **journal);

/* The line of a chunk that is done, with its line end; owned. */
status journal_line(const struct journal *journal, const struct journal_chunk *chunk,
                    char **line) STATUS_MUST_USE;

/* The chunk if it is there, NULL if not. */
const struct journal_chunk *journal_find(const struct journal *journal, int tensor, int64_t first,
                                         int64_t rows);

#endif

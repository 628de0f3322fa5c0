/* Checkpoint: named arrays of float32 and named numbers, complete or absent in one file. A text, the key,
 * says which run it belongs to. Format: lines "godwit checkpoint 1", the key, "number NAME VALUE" and "array
 * NAME COUNT" in the order given, "end", then the arrays' bytes (little-endian) one after the other. Not
 * collective. */
#ifndef GODWIT_IO_CHECKPOINT_H
#define GODWIT_IO_CHECKPOINT_H

#include "shared/status.h"

#include <stddef.h>
#include <stdint.h>

#define CHECKPOINT_MAX 32

/* What a checkpoint holds: places that it is written from and read into, all borrowed. */
struct checkpoint {
    const char *key; /* one line */
    int narrays, nnumbers;
    struct {
        const char *name; /* without blanks */
        float *data;
        size_t n;
    } array[CHECKPOINT_MAX];
    struct {
        const char *name;
        int64_t *integer; /* one of the two */
        double *real;
    } number[CHECKPOINT_MAX];
};

/* Append; more than CHECKPOINT_MAX is a programming error (aborts). */
void checkpoint_add_array(struct checkpoint *checkpoint, const char *name, float *data, size_t n);
void checkpoint_add_integer(struct checkpoint *checkpoint, const char *name, int64_t *value);
void checkpoint_add_real(struct checkpoint *checkpoint, const char *name, double *value);

/* Error: IO. */
status checkpoint_write(const char *path, const struct checkpoint *checkpoint) STATUS_MUST_USE;

/* Reads all places if the file is there; *found tells. Errors: IO; DATA if the file is damaged, or another
 * run's: says to delete it. Places may be partly filled then. */
status checkpoint_read(const char *path, const struct checkpoint *checkpoint, bool *found) STATUS_MUST_USE;

/* Deletes the file if it is there. */
void checkpoint_remove(const char *path);

#endif

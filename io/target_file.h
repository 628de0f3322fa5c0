/* The file of a target while it is made: laid out once as Keras's HDF5, then filled by all ranks, each
 * writing chunks (rows of a weight) straight to their places; beside it the journal (io/journal.h) of what is
 * in it for good. Whoever is killed and started again with the same task finds both and goes on, on any
 * number of ranks.
 *
 * The folder must be one that all ranks see. Where the file system has locks, the file is locked as long as
 * it is open, so that no two runs write to it. */
#ifndef GODWIT_IO_TARGET_FILE_H
#define GODWIT_IO_TARGET_FILE_H

#include "io/journal.h"
#include "shared/comm.h"
#include "shared/log.h"

struct target_file;

struct target_task {
    const char *path;          /* of the file; its journal is <path>.journal */
    const struct graph *graph; /* inferred; borrowed until it is closed */
    const char *preprocessing; /* JSON, NULL: none; see keras_lay_out */
    const char *program;       /* digests of what is made and of what: with another one, or another size */
    const char *source;        /* of chunks, the file is made anew */
    const char *values;        /* one word, likewise: which of a program's values */
    int64_t chunk_bytes;
};

/* Goes on with the file that is there if its journal is of the same task, else rank 0 lays it out anew, says
 * so, and takes the disk space for all of it. Collective. Errors: IO (a folder that a rank does not see, a
 * full disk: then nothing is left; a file that another run is writing). */
status target_file_open(const struct comm *world, struct log *log, const struct target_task *task,
                        struct target_file **file) STATUS_MUST_USE;
/* Closes; what is there stays. Chunks whose lines are not written yet are lost. Accepts NULL. */
void target_file_close(struct target_file **file);

const char *target_file_path(const struct target_file *file);
/* Deletes file and journal. Not collective: rank 0. */
void target_file_remove(const char *path);

/* Has the file a place for the weight's values? */
bool target_file_has(const struct target_file *file, int layer, int weight);

/* Were rows [first, first + n) in the file when it was opened, as far as the journal knows? */
bool target_file_knows(const struct target_file *file, int layer, int weight, int64_t first, int64_t n);
/* Are their bytes in the file those that the journal knows? Reads them. */
status target_file_check(struct target_file *file, int layer, int weight, int64_t first, int64_t n,
                         bool *same) STATUS_MUST_USE;

/* Writes rows; they get their line in the journal at some later sync. By one thread at a time, which need not
 * be that of the other functions. DATA error for a value that is NaN or infinite. */
status target_file_write(struct target_file *file, int layer, int weight, int64_t first, int64_t n,
                         const float *rows) STATUS_MUST_USE;
/* Waits until all that this rank has written is on the disk, and then gives it its lines. target_file_write
 * does so by itself after 64 MiB, 64 chunks or a second. */
status target_file_sync(struct target_file *file) STATUS_MUST_USE;

status target_file_read(struct target_file *file, int layer, int weight, int64_t first, int64_t n,
                        float *rows) STATUS_MUST_USE;

#endif

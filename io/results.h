/* What a model gives for many samples, as a file: HDF5, CSV or JSON lines. All ranks write blocks of samples
 * to a hidden file beside it, each to its place, and note them in a journal (io/journal.h). Whoever is killed
 * and started again with the same task finds both and goes on, on any number of ranks. The file gets its name
 * when it is complete.
 *
 * HDF5: float32 data sets (N, ...), named NAME, or NAME0, NAME1, ... of several outputs, or, if NAME ends in
 * "/", NAME/<output>; of images "file" with their names; with skip_bad "failed", 1 for images that could not
 * be read, whose rows are NaN. Rows are written by the system's calls: the file needs no parallel HDF5.
 * CSV and JSON lines: a line for each sample, in order. While they are made, each block has a place in the
 * hidden file that is as long as its text may be; what is not used takes no room on the disk. */
#ifndef GODWIT_IO_RESULTS_H
#define GODWIT_IO_RESULTS_H

#include "io/preprocessing.h"
#include "shared/comm.h"
#include "shared/log.h"

#define RESULTS_TOP_MAX 1000

enum results_kind { RESULTS_HDF5, RESULTS_CSV, RESULTS_JSONL };

struct results_task {
    const char *path;    /* of the file */
    const char *dataset; /* NAME in HDF5; NULL: "y" */
    enum results_kind kind;
    int64_t samples, block; /* of the whole, and of a block */
    int noutputs;
    const struct shape *shape; /* [noutputs], the batch is ignored */
    const char *const *name;   /* [noutputs] */
    const char *const *file;   /* [samples], or NULL */
    bool skip_bad;
    int top; /* in texts: so many best classes, RESULTS_TOP_MAX at most; 0: all values */
    const struct preprocessing *preprocessing; /* the classes' names */
    const char *model, *input; /* digests: of another model, input or setting the file is made anew */
    const char *settings;      /* a text of all that matters besides */
};

struct results;

/* By "hdf5", "csv", "jsonl", or "auto": by the ending of the path. USAGE error. */
status results_kind_find(const char *name, const char *path, enum results_kind *kind) STATUS_MUST_USE;

/* The task's texts are borrowed until it is closed. Collective. Errors: IO (a folder that a rank does not
 * see, a full disk, a file that another run is writing), USAGE (a name that HDF5 cannot have). */
status results_open(const struct comm *world, struct log *log, const struct results_task *task,
                    struct results **results) STATUS_MUST_USE;
/* What is there stays for the next run. Accepts NULL. */
void results_close(struct results **results);

/* Deletes what there is, where going on would not help, and closes it. All ranks; accepts NULL. */
void results_abandon(const struct comm *world, struct results **results);

int64_t results_blocks(const struct results *results);
/* Samples of a block: *n from *first on. */
void results_block(const struct results *results, int64_t block, int64_t *first, int64_t *n);
/* The hidden file. */
const char *results_path(const struct results *results);

/* Is the block in the file already, as the journal says, with the same bytes? *known is what the journal
 * alone says. By one rank for each block. */
status results_check(struct results *results, int64_t block, bool *known, bool *same) STATUS_MUST_USE;

/* y[i] (n of the block, ...) of output i; bad [n]: messages for samples that failed, or NULL. By one thread
 * at a time, which need not be that of the other functions. */
status results_write(struct results *results, int64_t block, const float *const *y,
                     char *const *bad) STATUS_MUST_USE;
/* Waits until all that this rank has written is on the disk, and notes it in the journal. */
status results_sync(struct results *results) STATUS_MUST_USE;

/* Gives the file its name, once all ranks have written all their blocks and synced, and closes it.
 * Collective. */
status results_publish(const struct comm *world, struct results **results) STATUS_MUST_USE;

#endif

/* Samples that outputs are wanted for: an HDF5 data set or group, an IDX file, images. Any number of them:
 * they are read piece by piece, and nothing but their names is in memory. */
#ifndef GODWIT_IO_SAMPLES_H
#define GODWIT_IO_SAMPLES_H

#include "io/preprocessing.h"
#include "shared/graph.h"
#include "shared/log.h"

struct samples;

struct samples_task {
    const char *path;                          /* FILE[:NAME], a folder or a pattern (*.png) */
    const struct graph *graph;                 /* whose inputs they are for; inferred */
    const struct preprocessing *preprocessing; /* borrowed while the samples are open */
    bool scaled;                               /* numbers too are multiplied by its scale; else bytes alone */
    bool skip_bad;                             /* images that cannot be read are passed over */
};

/* Bytes become inputs as the preprocessing says, images too, other numbers stay as they are unless `scaled`;
 * NaNs are let through. Of several inputs there is a group of data sets, named like the inputs or x0, x1,
 * ..., with as many samples. Images (PNG, JPEG) are in the order of their names' bytes; where the model takes
 * any size they all get that of the first. Errors: IO, DATA (what cannot be read, other shapes than the model
 * takes), USAGE. Not collective. */
status samples_open(const struct samples_task *task, struct samples **samples) STATUS_MUST_USE;
void samples_close(struct samples **samples); /* accepts NULL */

int64_t samples_count(const struct samples *samples);
/* Of all inputs, with an unknown batch: what the model's inputs become. [graph->ninputs] */
const struct shape *samples_shapes(const struct samples *samples);
/* The files that the samples are, [count]; NULL: they have numbers only. */
const char *const *samples_files(const struct samples *samples);
/* Is `path` one of the files that they are read from? */
bool samples_are_in(const struct samples *samples, const char *path);
/* What the samples are and what is done to them. */
void samples_tell(const struct samples *samples, struct log *log);
/* Tells apart whatever is read: by names, sizes and times of change of the files. Owned. */
status samples_digest(const struct samples *samples, char **digest) STATUS_MUST_USE;

/* Samples [first, first + n) of all inputs: x[i] has room for n of them. bad [n], NULL at first: with
 * skip_bad the message (owned by the caller) for each that could not be read, whose x is zeros. By one thread
 * at a time, which need not be the one that opened them; no other may use HDF5 at that time. Errors: IO,
 * DATA. */
status samples_read(struct samples *samples, int64_t first, int64_t n, float *const *x,
                    char **bad) STATUS_MUST_USE;

#endif

/* Data sets: samples (N, ...) as float32, channels last, and labels. Formats: IDX (also .gz), HDF5, folders of
 * images whose sorted class subfolders are the labels. One format is one file in io/datasets/ and one line of
 * io/dataset.c. */
#ifndef GODWIT_IO_DATASET_H
#define GODWIT_IO_DATASET_H

#include "io/config.h"
#include "shared/comm.h"
#include "shared/tensor.h"

struct dataset;

enum dataset_part { DATASET_TRAIN, DATASET_HOLDOUT, DATASET_TEST };

/* Opens the training and test parts that exist and splits the hold-out off the training part. `sample` is the
 * shape (batch first) that the model wants, used to add a channel axis or resize images of a folder; a sample
 * shape that does not fit is a DATA error. With in_memory, the ranks of `node` share one decoded copy.
 * Collective over `node` (which may be NULL: this rank alone); all its ranks return the same status.
 * Errors: IO, DATA (empty, labels not in [0, classes) when `classes` > 0, lengths that differ, NaN). */
status dataset_open(const struct data_config *config, const struct shape *sample, int64_t classes, uint64_t seed,
                    const struct comm *node, struct dataset **dataset) STATUS_MUST_USE;
void dataset_close(struct dataset **dataset); /* collective over the node it was opened with */

int64_t dataset_size(const struct dataset *dataset, enum dataset_part part);      /* samples; 0 if absent */
const struct shape *dataset_sample_shape(const struct dataset *dataset);          /* batch unknown */
int64_t dataset_classes(const struct dataset *dataset);                           /* largest label + 1, or columns of one-hot */

/* Which samples a batch takes and how it changes them. */
struct batch_request {
    enum dataset_part part;
    const int64_t *index; /* [n] in [0, size) */
    int64_t n;
    bool augment;         /* flips and shifts of the configuration, by (seed, epoch, index) alone */
    uint64_t epoch;
};
/* x: (n, sample) scaled; label: (n) class numbers, NULL if not wanted. Error: DATA, IO. May be called by
 * one thread at a time. */
status dataset_read(struct dataset *dataset, const struct batch_request *request, float *x, int32_t *label) STATUS_MUST_USE;

/* The order of an epoch: a permutation of [0, n), the same on every rank; chunk-aware where the storage is
 * chunked (chunks are shuffled, and samples inside a window of chunks). */
status dataset_order(const struct dataset *dataset, enum dataset_part part, uint64_t epoch, int64_t *order) STATUS_MUST_USE;

/* The preprocessing that turns a file's pixels into inputs, as JSON for the model ("scale", "offset", "labels",
 * "height", "width", "channels"); owned. */
status dataset_preprocessing(const struct dataset *dataset, char **json) STATUS_MUST_USE;

#endif

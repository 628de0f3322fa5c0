/* Data sets: samples (N, ...) as float32, channels last, and labels. Formats: IDX (also .gz), HDF5, folders
 * of images whose sorted class subfolders are the labels. One format is one file in io/datasets/ and one line
 * of io/datasets/format.c. */
#ifndef GODWIT_IO_DATASET_H
#define GODWIT_IO_DATASET_H

#include "io/config.h"
#include "shared/comm.h"
#include "shared/tensor.h"

struct dataset;

/* How samples of augmented batches change. */
struct augmentation {
    bool flip;
    int64_t shift;
};

enum dataset_part { DATASET_TRAIN, DATASET_HOLDOUT, DATASET_TEST };

/* Opens the training and test parts that exist and splits the hold-out off the training part (a negative
 * fraction: a twentieth, but 500 samples at least and a tenth at most). `sample` is the
 * shape (batch first) that the model wants, or NULL: it adds or drops a channel axis of 1, flattens, and
 * resizes the images of a folder; a sample shape that does not fit is a DATA error. With in_memory (and
 * always where a file is compressed as a whole, .gz) the ranks of `node` share one copy in the stored type,
 * and decode a share each; labels are always shared so. A set without labels can be read without labels.
 * Collective over `node` (which may be NULL: this rank alone); all its ranks return the same status.
 * Errors: IO, USAGE, MEMORY, DATA (empty, labels not in [0, classes) when `classes` > 0 or not whole numbers,
 * lengths that differ, NaN; without in_memory a NaN is found when it is read). */
status dataset_open(const struct data_config *config, const struct shape *sample, int64_t classes,
                    uint64_t seed, const struct comm *node, struct dataset **dataset) STATUS_MUST_USE;
void dataset_close(struct dataset **dataset); /* collective over the node it was opened with */

int64_t dataset_size(const struct dataset *dataset, enum dataset_part part); /* samples; 0 if absent */
const struct shape *dataset_sample_shape(const struct dataset *dataset);     /* batch unknown */
int64_t dataset_classes(
    const struct dataset *dataset); /* largest label + 1, columns of one-hot or class folders; 0: no labels */

/* DATA error as dataset_open() has it, for a model that takes up a data set that is open. */
status dataset_require_classes(const struct dataset *dataset, int64_t classes) STATUS_MUST_USE;
int64_t dataset_bytes(const struct dataset *dataset); /* of samples and labels kept in a node's memory */
/* The shorter side of its images, in pixels; 0: its samples are no images, and cannot be flipped or shifted.
 */
int64_t dataset_image_side(const struct dataset *dataset);
/* Augmented batches are changed so from now on, on this rank; opening set what the configuration says. USAGE
 * error if the samples are not images, or smaller than the shift. */
status dataset_augment(struct dataset *dataset, const struct augmentation *augmentation) STATUS_MUST_USE;
struct augmentation dataset_augmentation(const struct dataset *dataset);

/* Which samples a batch takes and how it changes them. */
struct batch_request {
    enum dataset_part part;
    const int64_t *index; /* [n] in [0, size) */
    int64_t n;
    bool augment; /* flips and shifts, by (seed, epoch, sample) alone */
    uint64_t epoch;
};
/* x: (n, sample) scaled; label: (n) class numbers; either NULL if not wanted. Error: DATA, IO. May be called by
 * one thread at a time. */
status dataset_read(struct dataset *dataset, const struct batch_request *request, float *x,
                    int32_t *label) STATUS_MUST_USE;

/* The order of an epoch: a permutation of [0, n) by (seed, part, epoch), the same on every rank. Without
 * in_memory it is chunk-aware where the storage is chunked: chunks are shuffled, and samples inside a window
 * of as many chunks as are kept (64 MiB), so that each chunk is read once. */
status dataset_order(const struct dataset *dataset, enum dataset_part part, uint64_t epoch,
                     int64_t *order) STATUS_MUST_USE;

/* The preprocessing that turns a file's pixels into inputs, as JSON for the model ("scale", "offset",
 * "labels", "height", "width", "channels"); owned. */
status dataset_preprocessing(const struct dataset *dataset, char **json) STATUS_MUST_USE;

#endif

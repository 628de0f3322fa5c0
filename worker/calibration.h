/* Calibration samples: unlabelled training samples, chosen by seed and split over the ranks in whole blocks,
 * so that sums over blocks do not depend on the number of ranks. The ranks of a node have those that any of
 * them uses in one copy. */
#ifndef GODWIT_WORKER_CALIBRATION_H
#define GODWIT_WORKER_CALIBRATION_H

#include "io/dataset.h"
#include "worker/machine.h"

#define CALIBRATION_BLOCK 128

struct calibration {
    int64_t n;                  /* samples of this rank, may be 0 */
    int64_t total;              /* of all ranks */
    int64_t first;              /* number of this rank's first block among those of all ranks */
    int64_t sample;             /* floats of one */
    float *x;                   /* (n, sample), borrowed from the window */
    struct comm_window *window; /* of the node; NULL: another calibration's */
    int64_t bytes;              /* that the node holds */
};

/* Of the blocks every so many-th is held out of fits, to measure them on; 0: none, there is but one block. */
int64_t calibration_held(const struct calibration *calibration);

/* Reads `samples` (all training samples if there are fewer), of which this rank's share is split off. Each
 * node reads a sample once, if one of its ranks has it in its share, or else if `whole`. Collective. */
status calibration_create(const struct machine *machine, struct dataset *dataset, int64_t samples,
                          uint64_t seed, bool whole, struct calibration **calibration) STATUS_MUST_USE;
/* The same samples, of which `whole` has all on every node, split over the ranks of `group` instead. Borrows
 * them. Not collective. */
status calibration_split(const struct calibration *whole, const struct comm *group,
                         struct calibration **split) STATUS_MUST_USE;
/* Collective over the node, but for what was split. */
void calibration_destroy(struct calibration **calibration);

#endif

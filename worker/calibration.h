/* Calibration samples: unlabelled training samples, chosen by seed and split over the ranks in whole blocks,
 * so that sums over blocks do not depend on the number of ranks. */
#ifndef GODWIT_WORKER_CALIBRATION_H
#define GODWIT_WORKER_CALIBRATION_H

#include "io/dataset.h"
#include "worker/machine.h"

#define CALIBRATION_BLOCK 128

struct calibration {
    int64_t n;      /* samples of this rank, may be 0 */
    int64_t total;  /* of all ranks */
    int64_t first;  /* number of this rank's first block among those of all ranks */
    int64_t sample; /* floats of one */
    float *x;       /* (n, sample), owned */
};

/* Of the blocks every so many-th is held out of fits, to measure them on; 0: none, there is but one block. */
int64_t calibration_held(const struct calibration *calibration);

/* Reads this rank's share of `samples` (all training samples if there are fewer). Collective. */
status calibration_create(const struct machine *machine, struct dataset *dataset, int64_t samples,
                          uint64_t seed, struct calibration **calibration) STATUS_MUST_USE;
void calibration_destroy(struct calibration **calibration);

#endif

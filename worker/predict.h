/* Outputs for any number of samples. Each rank reads, computes and writes its blocks at the same time, with
 * three blocks in memory: one of each. */
#ifndef GODWIT_WORKER_PREDICT_H
#define GODWIT_WORKER_PREDICT_H

#include "io/results.h"
#include "io/samples.h"
#include "worker/machine.h"

struct predict_task {
    const struct opgraph *ops; /* whose inputs have the shapes of the samples */
    struct params *params;
    struct samples *samples;
    struct results *results; /* with as many samples, and blocks of whole batches */
    int64_t batch;           /* samples that are computed at once */
};

/* Of all ranks but for the seconds. */
struct predict_counts {
    int64_t blocks;
    int64_t resumed; /* that were in the file already */
    int64_t damaged; /* in the journal, but not in the file with the same bytes: computed again */
    int64_t samples; /* that were computed */
    int64_t bad;     /* of these, that could not be read */
    double read_s, compute_s, write_s; /* of this rank: in which it read, computed and wrote, all at once */
};

/* Samples in memory at once that take about `bytes`, of n in all on any number of ranks: a batch, and a block
 * of some batches. `batch` > 0: as it says. */
void predict_sizes(const struct opgraph *ops, int64_t n, int64_t batch, int64_t *use_batch,
                   int64_t *use_block);

/* Fills the results, all but their last step, results_publish(). What a sample gives depends on its number
 * and the batch, not on the ranks. Collective. Errors: those of the samples and of the file; DATA for a value
 * that the model cannot take; CHECKPOINTED when SIGTERM came: whoever runs it again goes on. */
status predict(const struct machine *machine, const struct predict_task *task,
               struct predict_counts *counts) STATUS_MUST_USE;

#endif

/* One rank's part of a training run: what a step needs. Used by worker/train.c. */
#ifndef GODWIT_WORKER_TRAINER_H
#define GODWIT_WORKER_TRAINER_H

#include "worker/gradient_sum.h"
#include "worker/loss.h"
#include "worker/optimizer.h"
#include "worker/train.h"
#include "worker/weight_average.h"

struct trainer {
    const struct machine *machine;
    const struct train_task *task;
    int64_t batch, first; /* this rank's samples of a global batch: [first, first + batch) */
    int64_t sample, classes;
    int64_t steps_per_epoch;
    struct exec *exec;
    struct params *grads;
    struct gradient_sum *sum;
    struct optimizer *optimizer;
    struct weight_average *average; /* NULL: off */
    int64_t *order;                 /* [training samples] of this epoch */
    float *x;                       /* (batch, sample) */
    int32_t *label;                 /* (batch) */
    float *grad;                    /* (batch, classes) */
};

/* Checks the batch, allocates everything, compiles. Not collective. After an error trainer_close must still
 * be called. */
status trainer_open(struct trainer *trainer) STATUS_MUST_USE;
void trainer_close(struct trainer *trainer);

/* The order of the samples in epoch `epoch` (from 0), and which parameters it trains, as task->thaw says. Not
 * collective. */
status trainer_begin_epoch(struct trainer *trainer, int64_t epoch) STATUS_MUST_USE;

/* One step with learning rate `rate` on samples [step * batch, (step + 1) * batch) of trainer->order, as
 * augmented in epoch `epoch`; adds to *loss. A loss that is not finite is added, and the weights stay. *stop:
 * a rank has been asked to stop (shared/interrupt.h). Collective; all ranks return the same status. */
status trainer_step(struct trainer *trainer, int64_t epoch, int64_t step, double rate,
                    struct loss_result *loss, bool *stop) STATUS_MUST_USE;

#endif

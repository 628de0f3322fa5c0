/* Data-parallel training of a graph over all ranks: the batch is split, gradients are summed, so that another
 * number of ranks changes the result only by rounding. */
#ifndef GODWIT_WORKER_TRAIN_H
#define GODWIT_WORKER_TRAIN_H

#include "worker/teacher.h"

struct train_task {
    const struct training_config *config;
    uint64_t seed;
    struct dataset *data;
    bool augment;                /* as the data set says */
    const struct opgraph *graph; /* one input; output 0: logits (batch, classes) */
    struct params *params;       /* start values in, trained values out */
    const int64_t *thaw;     /* [graph->nparams] first epoch in which a parameter is trained; NULL: all are */
    struct teacher *teacher; /* to distil from; NULL: labels only */
    const char *checkpoint;  /* file of the checkpoint, seen by rank 0; NULL: none */
    const char *checkpoint_key; /* one line that says which run it belongs to */
    const int32_t
        *holdout_class; /* classes of the hold-out part in the place of its labels; NULL: its labels */
    double spent_s;     /* of config->budget_s before it begins */
    double step_s;      /* what a step is expected to take; 0: not known */
};

struct train_result {
    int64_t steps;
    int64_t epochs;
    int64_t best_epoch;      /* from 1; the weights returned are those after it; 0: those at the start */
    double train_loss;       /* mean over the last epoch */
    double holdout_accuracy; /* of the best epoch; 0 without a hold-out part */
    double samples_per_s;    /* median over the epochs */
};

/* Trains for config->epochs. With a hold-out part the weights that do best on it are returned, of any epoch
 * or of the start, else the last epoch's. With config->average they are exponential averages of the steps'
 * weights; below 0 they are averages over an epoch's steps where those do better on the hold-out part.
 *
 * config->epochs below 0: cycles (worker/cycle.h) of growing length, until one takes less than 1.5 % of
 * the hold-out part's calibrated loss away, by which the best weights are told then too; without a
 * hold-out part one of ten epochs. config->budget_s shortens the cycle, or all of the epochs, so that the
 * learning rate reaches its end in time; at least one epoch is trained.
 *
 * config has no automatic value but those of epochs and average. Collective. Errors: USAGE (batch smaller
 * than the ranks, or than the training part), DATA (the loss is not finite: names the epoch and step), and
 * the data set's.
 *
 * With a checkpoint, the state is kept there after each epoch and when SIGTERM arrives, which ends training
 * with CHECKPOINTED; a later call with the same key goes on from it, to the same bytes on the same ranks and
 * threads. Deleting it is the caller's. */
status train(const struct machine *machine, const struct train_task *task,
             struct train_result *result) STATUS_MUST_USE;

#endif

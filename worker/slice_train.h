/* Training in slices: ranks have parts of the target, and of the source, which train each on its own
 * (blockwise) or together (joint); see worker/slice_way.h. No rank needs room for more than its slices. */
#ifndef GODWIT_WORKER_SLICE_TRAIN_H
#define GODWIT_WORKER_SLICE_TRAIN_H

#include "worker/machine.h"
#include "worker/slice_task.h"

struct slice_train_result {
    int64_t best_epoch; /* as in struct train_result */
    double train_loss, holdout_accuracy, samples_per_s;
    double boundary_error;      /* blockwise: mean over the last epoch's steps and inner boundaries */
    double predicted, measured; /* share of the time that ranks compute in, on average */
    double balance;   /* mean over longest of the core seconds that ranks computed in, in the last epoch */
    double bytes;     /* most that a rank held of its slices: parameters, state, activations */
    char stages[256]; /* as in training.slices.stages */
    double source_accuracy, start_accuracy, accuracy; /* with task->test: of the test part, NAN: unknown */
};

/* Trains for task->epochs. With a hold-out part the target's weights that do best on it are returned, as in
 * train(). Slices are shared out by what they take (training.slices.stages), and anew after an epoch if its
 * times say that others would do better by a tenth. Moving statistics of batch norms stay as they are.
 * Checkpoints as in train(), at the ends of epochs, and when SIGTERM arrives. Collective. Errors: USAGE (a
 * batch that is no multiple of its micro-batches, stages that do not fit), DATA (the loss is not finite), and
 * the data set's. */
status slice_train(const struct machine *machine, const struct slice_task *task,
                   struct slice_train_result *result) STATUS_MUST_USE;

/* Is it measured to be faster by a tenth than one stage for all ranks, which is data-parallel training, or
 * does that not fit slices.rank_mib? Collective. */
status slice_train_choose(const struct machine *machine, const struct slice_task *task,
                          bool *answer) STATUS_MUST_USE;

#endif

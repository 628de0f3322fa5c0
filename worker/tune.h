/* Finds the settings of a training run that its configuration leaves to the program, by measuring on the
 * machine at hand and on the hold-out part of the training data; the test data are never looked at.
 *
 * Batch: a power of two by the number of samples; the next one if it trains 1.5 times as many samples a
 * second. Head of a new task: trained alone at first, if trials are better from there. Learning rate: a range
 * test, then rates around it, together with the weight of the source's outputs and the temperature, by
 * successive halving. Augmentation: flips, shifts and both, in longer trials; those that cost little there
 * are taken, since what they are worth grows with the length of training. Without a hold-out part the usual
 * values are taken.
 *
 * The decisions do not depend on the number of ranks, but by rounding and, for batch, by timings. */
#ifndef GODWIT_WORKER_TUNE_H
#define GODWIT_WORKER_TUNE_H

#include "worker/train.h"

struct tune_task {
    struct train_task train;      /* as it would be trained, with automatic values; teacher NULL */
    const struct opgraph *source; /* to distil from: output 0 is its logits; NULL: labels only */
    struct params *source_params;
    bool augment;     /* find out whether flips and shifts help */
    const bool *head; /* [graph->nparams] weights that start anew for a new task; NULL: none */
    const char *file; /* keeps the decisions, seen by rank 0; NULL: none */
};

/* Decisions and what training needs by them. tune_release frees what it owns. */
struct tuning {
    struct training_config config;    /* without automatic values, but epochs and average; borrows texts */
    struct augmentation augmentation; /* as the data set has it now */
    struct teacher *teacher;          /* owned; NULL: labels only */
    int32_t *holdout_class;           /* owned; see struct train_task */
    double seconds;                   /* that it took */
    double step_s;                    /* what a step takes, about; 0: not measured */
    char *evidence;                   /* owned: what was decided and why, a line each */
};

/* Collective. task->train.params are changed if the head of a new task was trained alone. With task->file
 * decisions that are there already under the same key are taken again. Errors: as train(). */
status tune(const struct machine *machine, const struct tune_task *task,
            struct tuning *tuning) STATUS_MUST_USE;
void tune_release(struct tuning *tuning);

/* What is taken for automatic values where nothing can be measured; epochs and average stay. `least`: no
 * smaller batch. Not collective. */
void tune_take_usual(struct training_config *config, int64_t samples, int least);

/* Does a configuration leave anything to tune()? */
bool tune_is_needed(const struct training_config *config, bool augment);

#endif

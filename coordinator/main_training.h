/* Training of a job's model: what its configuration leaves open is found first (worker/tune.h). Used by
 * main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_TRAINING_H
#define GODWIT_COORDINATOR_MAIN_TRAINING_H

#include "coordinator/main_job.h"
#include "worker/tune.h"

struct job_training {
    const struct opgraph *graph;  /* output 0: logits */
    struct params *params;        /* start values in, trained values out */
    const int64_t *thaw;          /* as struct train_task has it */
    const struct opgraph *source; /* to distil from; NULL: labels only */
    struct params *source_params;
    const bool *head; /* as struct tune_task has it */
};

/* With which settings a model was trained, and what came of it. */
struct job_trained {
    struct training_config config; /* borrows the texts of the job's configuration */
    struct augmentation augmentation;
    int64_t epochs, best_epoch;
    double holdout_accuracy, samples_per_s, tuning_s;
};

/* Tunes, and writes tuning.txt (what was decided and why) and tuned.json (the configuration with it) into the
 * run folder. tune_release() frees what it found. Collective. Errors: as train(). */
status job_tune(struct job *job, const struct job_training *training, struct tuning *tuning) STATUS_MUST_USE;

/* Tunes and trains, with the whole model on each rank. Collective. Errors: as train(). */
status job_train(struct job *job, const struct job_training *training,
                 struct job_trained *trained) STATUS_MUST_USE;

/* The settings alone, of which nothing has come yet. */
struct job_trained job_trained_by(const struct training_config *config, const struct tuning *tuning);

#define JOB_TRAINED_METRICS 9
/* The figures for model.json, metric[JOB_TRAINED_METRICS]. */
void job_trained_metrics(const struct job_trained *trained, struct provenance_metric *metric);

#endif

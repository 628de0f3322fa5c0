/* What the jobs that make a model (train, migrate) share: configuration, engine, run folder, data set, and
 * publishing the result. Used by the commands' main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_JOB_H
#define GODWIT_COORDINATOR_MAIN_JOB_H

#include "coordinator/config_arguments.h"
#include "coordinator/session.h"
#include "io/dataset.h"
#include "io/model.h"
#include "io/provenance.h"
#include "io/run_folder.h"
#include "worker/machine.h"

struct job {
    const struct session *session;
    struct config *config;
    char *config_json;
    struct machine machine; /* its trace is the job's */
    struct run_folder *folder;
    struct dataset *data;              /* NULL until job_open_data */
    char *checkpoint, *checkpoint_key; /* of its training; see worker/train.h */
    char *blockwise_checkpoint;        /* of blockwise training before that */
    char *tuning;                      /* file of what was found for it; see worker/tune.h */
    double start, phase_start;
};

/* Reads the configuration, finds the engine, makes the run folder, says ranks x threads. Collective; all
 * ranks return the same status. After an error job_close must still be called. */
status job_open(const struct session *session, const struct config_arguments *arguments,
                struct job *job) STATUS_MUST_USE;
/* The same with a configuration that every rank has, which the job owns from now on. */
status job_begin(const struct session *session, struct config *config, struct job *job) STATUS_MUST_USE;
/* The same for what several jobs of their own have in common, which publish in its place. */
status job_begin_several(const struct session *session, struct config *config,
                         struct job *job) STATUS_MUST_USE;
/* The job's checkpoint belongs to this source too. Collective. */
status job_belongs_to(struct job *job, const char *source_digest) STATUS_MUST_USE;
/* Does training find out whether flips and shifts help? */
bool job_tunes_augmentation(const struct config *config);
/* Opens the data set for a model's input and classes. Collective. */
status job_open_data(struct job *job, const struct model *model) STATUS_MUST_USE;
/* The same for an input and classes, 0 if the labels may be any. */
status job_open_samples(struct job *job, const struct shape *input, int64_t classes) STATUS_MUST_USE;
/* Do the labels of a data set that is open fit the model? DATA error if not. Collective. */
status job_check_data(const struct job *job, const struct model *model) STATUS_MUST_USE;
/* Ends the data set and the run folder, writes trace.json if the configuration wants it, after an error too,
 * and then prints what each rank did with its time. Collective. Returns `error`, which all ranks have, or
 * what closing found. */
status job_close(struct job *job, status error) STATUS_MUST_USE;

/* Begins a phase ("refit") of the log; returns the seconds of the one before. */
double job_phase(struct job *job, const char *phase);

/* Rank 0 writes the model into a new version of the registry (or to config.output if that is set), with its
 * provenance, a golden pair of a few samples of the data set if there is one, by which `godwit verify` checks
 * it, and, if not NULL, the executed plan, and deletes the checkpoint; *path (owned, on every rank) is the
 * model's file. `metrics` and `source` as in io/provenance.h. Collective. */
struct job_result {
    const struct model *model;
    const char *file; /* instead: the model, complete and on the same file system; it gets the model's name */
    const char *source, *source_digest;
    const char *plan;
    const struct provenance_metric *metric;
    int nmetrics;
};
status job_publish(struct job *job, const struct job_result *result, char **path) STATUS_MUST_USE;

#endif

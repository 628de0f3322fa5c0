/* What the two ways to run a migration share: with the models in memory (main_migrate.c), and streamed from
 * file to file (main_stream.c). Used by main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_MIGRATION_H
#define GODWIT_COORDINATOR_MAIN_MIGRATION_H

#include "coordinator/compile.h"
#include "coordinator/main_training.h"
#include "coordinator/report.h"
#include "io/keras.h"
#include "io/target_file.h"
#include "worker/calibration.h"
#include "worker/migrate.h"

#define PHASES_MAX 16

/* One migration, as all ranks hold it. */
struct migration_run {
    struct job job;
    const char *plan_path;             /* of a program to run; NULL: what the configuration gives */
    char *source_path, *source_digest; /* owned; of a source that is followed they are given */
    struct keras_file *file;
    struct graph *source_graph;
    struct compiled *compiled;
    struct target_file
        *made; /* the target's file while it is streamed and until it is published; else NULL */
    /* Only with models in memory. */
    struct model *source; /* batch norms folded */
    struct model *uncut;  /* the target at full width; NULL if that is the source */
    struct model *target;
    const struct migration_run *ground; /* whose source, data and samples these are; NULL: its own */
    bool followed;                      /* updates will come: what they begin from is kept */
    struct params *base;                /* of the target after refit, then; else NULL */
    struct opgraph *source_logits, *target_logits;
    struct calibration *calibration;
    double latency_limit_s; /* 0: there is none */
    char *published;        /* owned: the file of the last target; NULL */
    struct report report;
    struct job_trained trained; /* of fine-tuning */
    struct report_phase phase[PHASES_MAX];
    FILE *out; /* of the report; NULL: standard output */
};

/* Does such a configuration need no model in memory: nothing is refitted, nothing is trained, and migration
 * is dynamic? */
bool migration_streams(const struct config *config);
/* Most bytes of a chunk; 0: whole tensors. */
int64_t migration_chunk_bytes(const struct config *config);

/* Is the target for other classes than the source's? */
bool migration_is_new_task(const struct migration_run *run);

void migration_phase(struct migration_run *run, const char *name);

/* Finds the source and opens it. Collective. */
status migration_open_source(struct migration_run *run) STATUS_MUST_USE;

/* Finds the source and opens it, unless it is open, and compiles the program. Collective. */
status migration_compile(struct migration_run *run) STATUS_MUST_USE;

/* Compiles once more, for the configuration as it is now. Collective. */
status migration_compile_again(struct migration_run *run) STATUS_MUST_USE;

/* Is the target within the limit on its latency? */
bool migration_is_fast_enough(const struct migration_run *run);

/* The arguments of a migration by `plan`; migration_release frees them. Collective. */
status migration_prepare(const struct migration_run *run, const struct plan *plan,
                         struct migration *migration) STATUS_MUST_USE;
void migration_release(struct migration *migration);

/* What migration_stream is to make: `final` as in struct migration, `params` NULL or what the values are read
 * into. */
struct stream_task {
    const char *path; /* of the file, on every rank */
    const char *preprocessing;
    bool final;
    struct params *params;
    const bool *stale; /* as struct migration has them */
    const struct migrated_before *before;
};

/* Streams the target of the program, whose channels are chosen, into run->made. What cannot be gone on with
 * after an error is deleted. Collective. */
status migration_stream(struct migration_run *run, const struct stream_task *task) STATUS_MUST_USE;

/* Parameters and operations of source and target, into the report; what is not known of them is NAN. */
status migration_describe(struct migration_run *run) STATUS_MUST_USE;

/* Publishes the target and prints the report. `result` says what; the rest of it is filled in. Collective. */
status migration_publish(struct migration_run *run, struct job_result *result) STATUS_MUST_USE;

/* The run, whose job has begun, takes the source, the data set and the samples of `ground`, which outlives
 * it; the samples are split over the run's own ranks. Collective over these. */
status migration_stand_on(const struct migration_run *ground, struct migration_run *run) STATUS_MUST_USE;

/* CHECKPOINTED error if SIGTERM has come, for one of several targets: they catch it all the time. Collective.
 */
status migration_check_stop(const struct migration_run *run) STATUS_MUST_USE;

/* Frees all that was made of the source, so that it can be begun again. Collective. */
void migration_close(struct migration_run *run);

#endif

/* What several targets of one run stand on: the source, the data set and the calibration samples, once on
 * every node. Used by main_targets.c and main_wave.c only; all functions are collective, and return the same
 * status on every rank. */
#ifndef GODWIT_COORDINATOR_MAIN_GROUND_H
#define GODWIT_COORDINATOR_MAIN_GROUND_H

#include "coordinator/main_migration.h"

/* Makes the run's folder and opens the source. Takes the configuration, which needs no name. */
status ground_open(const struct session *session, struct config *config,
                   struct migration_run *ground) STATUS_MUST_USE;

/* Reads the source's parameters, the data set and the samples, and measures the source. `labelled`: one of
 * the targets is for the source's own classes. */
status ground_load(struct migration_run *ground, bool labelled) STATUS_MUST_USE;

/* What the ranks of this node hold of it in bytes, and what copies would be. */
struct ground_memory {
    double params, samples, data; /* the node's one copy */
    double peak;                  /* of the rank that has had most at once */
    double parts;                 /* of all of the node's ranks, each page counted once */
};
status ground_measure(const struct migration_run *ground, struct ground_memory *memory) STATUS_MUST_USE;

/* Prints a table of it for the node of rank 0: against a copy for each of the node's ranks, and one for each
 * of `ntargets` runs. Not collective: rank 0. */
void ground_print(const struct migration_run *ground, const struct ground_memory *memory, int ntargets);

/* Ends the run's folder too; returns `error`, or what closing found. */
status ground_close(struct migration_run *ground, status error) STATUS_MUST_USE;

#endif

/* Targets that are made side by side, by groups of ranks, and published one after the other when all groups
 * have come to their end. Used by main_targets.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_WAVE_H
#define GODWIT_COORDINATOR_MAIN_WAVE_H

#include "coordinator/main_ground.h"
#include "coordinator/schedule.h"
#include "io/tally.h"

/* One of the targets, and what came of it: the same on every rank. */
struct made {
    char *name;
    double cost;           /* operations, as foretold; see main_targets.c */
    bool measures;         /* its widths are allotted by measured latency */
    bool published;        /* by this run, or by an earlier one that was stopped */
    enum status_code code; /* why it was not made; STATUS_OK: it was, or was not begun */
    char *message;         /* owned, "" if it was made */
    char *path;            /* owned, of the published model */
    struct report report;  /* without phases */
};

/* What all waves of a run have in common. */
struct wave_task {
    const struct migration_run *ground;
    const struct config *config; /* of all targets */
    struct tally *tally;         /* rank 0; NULL elsewhere */
    struct made *made;           /* [config->ntargets] */
    struct ground_memory memory; /* the most of all waves */
    double busy_s, all_s;        /* seconds of all ranks at work, and in all */
};

/* Makes the targets `target`[n]. A group is as the schedule of their costs has it; each makes its targets one
 * after the other. An error of a target ends that target alone. When all groups are done, or have stopped at
 * SIGTERM, each target's latency is measured while nothing else computes, and it is published, in turn.
 * Collective; what is returned is not a target's error. */
status wave_run(struct wave_task *task, int n, const int *target) STATUS_MUST_USE;

#endif

/* Fine-tuning in slices. Used by main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_SLICES_H
#define GODWIT_COORDINATOR_MAIN_SLICES_H

#include "coordinator/main_training.h"
#include "coordinator/main_migration.h"

/* Training in slices of models that each rank has. */
struct slices_training {
    const struct job_training *job;
    bool blockwise;         /* else jointly */
    int64_t epochs;         /* -1: the usual number */
    const char *checkpoint; /* file of its checkpoint */
};
/* What the configuration leaves open is found as for whole models. Collective. */
status slices_train(struct migration_run *run, const struct slices_training *training) STATUS_MUST_USE;

/* Is joint training in slices measured to be faster than with the whole target on each rank, or does that not
 * fit slices.rank_mib? Collective. */
status slices_are_faster(struct migration_run *run, const struct job_training *training,
                         bool *answer) STATUS_MUST_USE;

/* Does such a configuration need no whole model on any rank but rank 0, which gathers the target: nothing is
 * refitted, and what is trained is trained in slices? */
bool slices_suffice(const struct migration_run *run);

/* Such a migration: each rank reads what its slices need, trains them, and sends them to rank 0. Collective.
 */
status slices_phases(struct migration_run *run) STATUS_MUST_USE;
status slices_deliver(struct migration_run *run) STATUS_MUST_USE;

#endif

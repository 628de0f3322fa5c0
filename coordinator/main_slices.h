/* Fine-tuning in slices. Used by main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_SLICES_H
#define GODWIT_COORDINATOR_MAIN_SLICES_H

#include "coordinator/main_migration.h"
#include "worker/slicing.h"

/* Where source and target are cut. Not collective. */
status slices_find(const struct migration_run *run, struct slicing **slicing) STATUS_MUST_USE;

/* Does such a configuration need no whole model on any rank but rank 0, which gathers the target: nothing is
 * refitted, and what is trained is trained in slices? */
bool slices_suffice(const struct migration_run *run);

/* Such a migration: each rank reads what its slices need, trains them, and sends them to rank 0. Collective.
 */
status slices_phases(struct migration_run *run) STATUS_MUST_USE;
status slices_deliver(struct migration_run *run) STATUS_MUST_USE;

#endif

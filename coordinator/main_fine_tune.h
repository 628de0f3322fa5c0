/* Fine-tuning of the refitted target, as the configuration's "training" says. Used by main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_FINE_TUNE_H
#define GODWIT_COORDINATOR_MAIN_FINE_TUNE_H

#include "coordinator/main_migration.h"

/* The refitted target is kept in the run folder first, so that nothing is lost if training fails. Collective.
 */
status fine_tune(struct migration_run *run) STATUS_MUST_USE;

/* Warns, once the target has been evaluated, if it is worse than before. */
void fine_tune_warn(const struct migration_run *run);

#endif

/* The phases of a migration, from the source to the published target. Used by main_*.c only; all are
 * collective, and return the same status on every rank. */
#ifndef GODWIT_COORDINATOR_MAIN_PHASES_H
#define GODWIT_COORDINATOR_MAIN_PHASES_H

#include "coordinator/main_migration.h"

/* With the models in memory: compile, read, choose, migrate, refit, and the rest. */
status memory_phases(struct migration_run *run) STATUS_MUST_USE;
/* The rest: evaluate, fine-tune, what is done last, publish. */
status memory_complete(struct migration_run *run) STATUS_MUST_USE;
/* Once more for a source of the same graph, which is open as run->file, of which these parameters (as
 * graph_lower() of run->source_graph numbers them) have changed: what depends on them is migrated and
 * refitted again; channels stay as they were chosen. */
status memory_update(struct migration_run *run, const bool *changed) STATUS_MUST_USE;

/* Without models in memory: compile, select, migrate, publish. */
status stream_phases(struct migration_run *run) STATUS_MUST_USE;
/* Once more, likewise: what does not depend on the changes is copied from the target published last. */
status stream_update(struct migration_run *run, const bool *changed) STATUS_MUST_USE;

/* Whichever of the two the configuration wants. */
static inline STATUS_MUST_USE status run_phases(struct migration_run *run) {
    return migration_streams(run->job.config) ? stream_phases(run) : memory_phases(run);
}
static inline STATUS_MUST_USE status run_update(struct migration_run *run, const bool *changed) {
    return migration_streams(run->job.config) ? stream_update(run, changed) : memory_update(run, changed);
}

#endif

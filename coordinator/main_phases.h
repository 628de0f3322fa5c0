/* The phases of a migration, from the source to the published target. Used by main_*.c only; all are
 * collective, and return the same status on every rank. */
#ifndef GODWIT_COORDINATOR_MAIN_PHASES_H
#define GODWIT_COORDINATOR_MAIN_PHASES_H

#include "coordinator/main_migration.h"
#include "coordinator/main_slices.h"

/* With the models in memory: compile, read, choose, migrate, refit, and the rest. */
status memory_phases(struct migration_run *run) STATUS_MUST_USE;
/* The rest: evaluate, fine-tune, what is done last. */
status memory_complete(struct migration_run *run) STATUS_MUST_USE;
/* Once more for a source of the same graph, which is open as run->file, of which these parameters (as
 * graph_lower() of run->source_graph numbers them) have changed: what depends on them is migrated and
 * refitted again; channels stay as they were chosen. */
status memory_update(struct migration_run *run, const bool *changed) STATUS_MUST_USE;
/* What is measured when nothing else computes, latency; then publish. */
status memory_deliver(struct migration_run *run) STATUS_MUST_USE;
/* The source's accuracy, where the data has its labels, and latency, into the report. */
status memory_measure_source(struct migration_run *run, bool labelled) STATUS_MUST_USE;

/* Without models in memory: compile, select, migrate. */
status stream_phases(struct migration_run *run) STATUS_MUST_USE;
/* Once more, likewise: what does not depend on the changes is copied from the target published last. */
status stream_update(struct migration_run *run, const bool *changed) STATUS_MUST_USE;
status stream_deliver(struct migration_run *run) STATUS_MUST_USE;

/* Whichever of them the configuration wants: all but what follows the target's making. */
static inline STATUS_MUST_USE status make_phases(struct migration_run *run) {
    if (migration_streams(run->job.config)) return stream_phases(run);
    return slices_suffice(run) ? slices_phases(run) : memory_phases(run);
}
/* That: measured and published. The configuration may have been changed by what was measured. */
static inline STATUS_MUST_USE status deliver_phases(struct migration_run *run) {
    if (!run->target) return stream_deliver(run);
    return slices_suffice(run) ? slices_deliver(run) : memory_deliver(run);
}
static inline STATUS_MUST_USE status run_phases(struct migration_run *run) {
    STATUS_TRY(make_phases(run));
    return deliver_phases(run);
}
static inline STATUS_MUST_USE status run_update(struct migration_run *run, const bool *changed) {
    STATUS_TRY(run->target ? memory_update(run, changed) : stream_update(run, changed));
    return deliver_phases(run);
}

#endif

/* Several targets from one source, in one run. Used by main_migrate.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_TARGETS_H
#define GODWIT_COORDINATOR_MAIN_TARGETS_H

#include "coordinator/main_migration.h"

/* Makes them side by side by groups of ranks, from one copy of the source, the data set and the samples on
 * each node, and publishes them. Targets with a budget of latency are made before the others, each alone by
 * all ranks, since it is measured meanwhile. Ends with a table of all, the choice among them, and what
 * memory was saved. A target that cannot be made does not keep the others from it: its error, the first, is
 * returned when all others are published. After SIGTERM those that are done are published, and the error is
 * CHECKPOINTED: the same run, started again, makes the rest. Takes the configuration. Collective. */
status make_targets(const struct session *session, struct config *config) STATUS_MUST_USE;

#endif

/* Several targets from one source, in one run. Used by main_migrate.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_TARGETS_H
#define GODWIT_COORDINATOR_MAIN_TARGETS_H

#include "coordinator/main_migration.h"

/* Makes and publishes one after the other; the source, the data set and the samples are read once. Ends with
 * a table of all. If one cannot be made, those before it are published, and the error is returned. Takes the
 * configuration. Collective. */
status make_targets(const struct session *session, struct config *config) STATUS_MUST_USE;

#endif

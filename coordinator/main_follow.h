/* Following a source that is still being trained. Used by main_migrate.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_FOLLOW_H
#define GODWIT_COORDINATOR_MAIN_FOLLOW_H

#include "coordinator/main_migration.h"

struct follow_options {
    double every;  /* seconds between looks */
    long versions; /* ends after so many targets; 0: at SIGTERM */
};

/* Makes a target of the source as it is, and another one whenever another source is there that is whole: of
 * tensors that have not changed nothing is migrated again, and of their layers nothing is refitted that does
 * not read what changed. A source that is being written or is broken is waited out, said once, and so is,
 * once there is a target, one that cannot be used; before that it is an error. Targets published before stay.
 * Ends with SUCCESS at SIGTERM. Collective. */
status follow(struct migration_run *run, const struct follow_options *options) STATUS_MUST_USE;

#endif

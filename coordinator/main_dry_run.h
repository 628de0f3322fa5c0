/* godwit migrate --dry-run. */
#ifndef GODWIT_COORDINATOR_MAIN_DRY_RUN_H
#define GODWIT_COORDINATOR_MAIN_DRY_RUN_H

#include "coordinator/config_arguments.h"
#include "coordinator/session.h"

/* Prints the program, parameters, operations and memory of source and target, and the slices and bytes of the
 * source of each rank that there is; reads no weight and makes no run folder. `plan`: file of a program, or
 * NULL. Collective. */
status dry_run(const struct session *session, const struct config_arguments *arguments,
               const char *plan) STATUS_MUST_USE;

#endif

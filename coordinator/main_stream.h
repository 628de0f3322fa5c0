/* Steps of a migration without models in memory. Used by main_*.c only; collective. */
#ifndef GODWIT_COORDINATOR_MAIN_STREAM_H
#define GODWIT_COORDINATOR_MAIN_STREAM_H

#include "coordinator/main_migration.h"

/* Chooses the channels by what is read of the source's file for it. */
status stream_choose_channels(struct migration_run *run) STATUS_MUST_USE;

/* Says how much memory the rank that held most had. */
status stream_show_memory(const struct migration_run *run) STATUS_MUST_USE;

#endif

/* The steps of a migration with the models in memory, in their order. Used by main_*.c only; all are
 * collective, and return the same status on every rank. */
#ifndef GODWIT_COORDINATOR_MAIN_MEMORY_H
#define GODWIT_COORDINATOR_MAIN_MEMORY_H

#include "coordinator/main_migration.h"

/* Compiles; makes run->source, uncut and target, without their weights yet. */
status memory_compile(struct migration_run *run) STATUS_MUST_USE;
/* run->source alone, in memory that the ranks of a node share; run->compiled is there. */
status memory_create_source(struct migration_run *run) STATUS_MUST_USE;
status memory_read_source(struct migration_run *run) STATUS_MUST_USE;
/* Which residual blocks are left out, if the configuration says how many: that makes another target. */
status memory_leave_out_blocks(struct migration_run *run) STATUS_MUST_USE;
/* The ranks of factored layers, if they are to be measured: that makes another target too. */
status memory_choose_ranks(struct migration_run *run) STATUS_MUST_USE;
status memory_read_uncut(struct migration_run *run) STATUS_MUST_USE;
/* Widths, if there is a budget and the program is not given: that makes another target too; then channels. */
status memory_choose_channels(struct migration_run *run) STATUS_MUST_USE;
status memory_migrate(struct migration_run *run) STATUS_MUST_USE;
/* `due` as struct refit has it. */
status memory_refit(struct migration_run *run, const signed char *due) STATUS_MUST_USE;
/* Keeps the target's parameters as they are, for memory_update(). */
status memory_keep_base(struct migration_run *run) STATUS_MUST_USE;

/* What a program gives, into params; `stale` as struct migration has it. */
status memory_execute(struct migration_run *run, const struct plan *plan, const bool *stale,
                      struct params *params) STATUS_MUST_USE;

#endif

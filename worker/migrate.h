/* Migration: executes a program over the ranks. Each rank evaluates the chunks of its slices, reading only
 * the hyperslabs they need; then every rank gets all of the target. A target that need not be in memory is
 * streamed to a file instead: worker/stream.h. */
#ifndef GODWIT_WORKER_MIGRATE_H
#define GODWIT_WORKER_MIGRATE_H

#include "io/keras.h"
#include "shared/evaluation.h"
#include "shared/partition.h"
#include "shared/plan.h"
#include "worker/machine.h"

/* A target that the same program made of a source as it was before. */
struct migrated_before {
    struct keras_file *file; /* opened by this rank */
    const struct graph *graph;
};

struct migration {
    struct keras_file *file; /* opened by this rank */
    const struct plan *plan; /* keep lists chosen */
    const struct partition *partition;
    int64_t chunk_bytes; /* most bytes of a chunk, or one row if that is more; 0: chunks are whole tensors */
    const bool *stale;   /* [plan->nstatements] the statements that are migrated; NULL: all */
    const struct migrated_before *before; /* streaming: what the others' values are copied from; NULL: they
                                             are left out */
    bool final; /* statements' values, the transforms in them that are done last too; else what tensors start
                   as: see plan_start() */
};

/* Fills params (as graph_lower() of the target numbers them) on every rank, or on every node if its ranks
 * share them: then each chunk is sent to a node once, to none if there is but one. The same bytes on any
 * number of ranks and with chunks of any size. Collective. Errors: those of the source file (DATA, IO). */
status migrate(const struct machine *machine, const struct migration *migration,
               struct params *params) STATUS_MUST_USE;

/* Fills in the parameters that `part` has, and no others: this rank reads what these need, whatever the
 * partition. Not collective. Errors likewise. */
status migrate_part(const struct machine *machine, const struct migration *migration,
                    struct params *part) STATUS_MUST_USE;

/* What this rank evaluates a migration's expressions with. */
status migration_evaluation(const struct migration *migration,
                            struct evaluation **evaluation) STATUS_MUST_USE;

/* What it would read: bytes of the source that each rank's chunks need, bytes[partition->nranks], found by
 * evaluating the program on ones: `file` is not used. Not collective. Keep lists must have been chosen; which
 * ones makes little difference. */
status migration_bytes(const struct migration *migration, double *bytes) STATUS_MUST_USE;

#endif

/* Migration: executes a program over the ranks. Each rank evaluates the chunks of its slices, reading only
 * the hyperslabs they need; then every rank gets all of the target. */
#ifndef GODWIT_WORKER_MIGRATE_H
#define GODWIT_WORKER_MIGRATE_H

#include "io/keras.h"
#include "shared/partition.h"
#include "shared/plan.h"
#include "worker/machine.h"

struct migration {
    struct keras_file *file; /* opened by this rank */
    const struct plan *plan; /* keep lists chosen */
    const struct partition *partition;
    int64_t chunk_bytes; /* dynamic: most bytes of a chunk; 0: static, whole tensors in memory */
    const char *folder;  /* dynamic: where this rank's slice file goes; shared by the ranks or not */
};

/* Fills params (as graph_lower() of the target numbers them) on every rank with what the statements' tensors
 * start as: see plan_start(). Dynamic migration streams chunk by chunk into a slice file, so that a rank
 * holds one chunk of its slices at a time before the gather; static migration holds its slices. Both give the
 * same bytes on any number of ranks. Collective. Errors: those of the source file (DATA, IO), and IO for the
 * slice file. */
status migrate(const struct machine *machine, const struct migration *migration,
               struct params *params) STATUS_MUST_USE;

/* What it would read: bytes of the source that each rank's chunks need, bytes[partition->nranks], found by
 * evaluating the program on ones: `file` and `folder` are not used. Not collective. Keep lists must have
 * been chosen; which ones makes little difference. */
status migration_bytes(const struct migration *migration, double *bytes) STATUS_MUST_USE;

#endif

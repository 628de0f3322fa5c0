/* Streaming: a migration whose target need not be in memory. Each rank writes the chunks it evaluates
 * straight to their places in the target's file. It holds two chunks, one being made and one being written,
 * and what a transform needs itself: for most the source rows of a chunk, for transpose, low_rank and the
 * like a tensor. */
#ifndef GODWIT_WORKER_STREAM_H
#define GODWIT_WORKER_STREAM_H

#include "io/target_file.h"
#include "worker/migrate.h"

struct stream_counts {
    int64_t chunks;             /* of the whole target */
    int64_t resumed;            /* of those, in the file already */
    int64_t damaged;            /* in the journal, but not in the file with the same bytes: migrated again */
    double evaluate_s, write_s; /* of this rank: in which it evaluated, and in which it wrote; both at once */
};

/* Fills `file`, which was opened for the target of migration->plan and with the same chunk_bytes. Chunks that
 * it has are checked and left; the counts are of all ranks, and the log tells them. The file is the same to
 * the byte as what keras_write() makes of the values, on any number of ranks. Collective. Errors: those of
 * the source, IO, and CHECKPOINTED when SIGTERM came: whoever runs it again goes on. */
status stream(const struct machine *machine, const struct migration *migration, struct target_file *file,
              struct stream_counts *counts) STATUS_MUST_USE;

/* Reads the values of a file that was filled into params (as graph_lower() of the target numbers them), on
 * every rank; of layers that no output needs, which have no place in the file, they are evaluated.
 * Collective.
 */
status stream_params(const struct machine *machine, const struct migration *migration,
                     struct target_file *file, struct params *params) STATUS_MUST_USE;

#endif

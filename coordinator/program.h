/* Migration programs: compiled from a configuration, or read from a file that a person may have edited. */
#ifndef GODWIT_COORDINATOR_PROGRAM_H
#define GODWIT_COORDINATOR_PROGRAM_H

#include "coordinator/compile.h"
#include "shared/comm.h"
#include "shared/log.h"
#include "shared/partition.h"

/* What is compiled: see compile_target() and compile_program(). */
struct program_source {
    const struct graph *graph; /* inferred; borrowed by the result */
    const char *path, *digest; /* digest may be NULL */
};

/* The program in the file `path`; NULL: that of the configuration. An error in the file names the line and
 * the column, and the log shows the line. `world`: collective, rank 0 reads the file; NULL: this process
 * alone. */
status program_compile(const struct comm *world, struct log *log, const struct program_source *source,
                       const struct config *config, const char *path,
                       struct compiled **compiled) STATUS_MUST_USE;

/* Which ranks work on which slices: shared out by the bytes that the slices have. */
status program_partition(const struct plan *plan, int nranks, struct partition **partition) STATUS_MUST_USE;

/* The language and its transforms, in Markdown; owned. */
status program_describe(char **text) STATUS_MUST_USE;

#endif

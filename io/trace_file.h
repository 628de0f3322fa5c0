/* trace.json: the spans of all ranks in the Chrome trace event format, for Perfetto (ui.perfetto.dev) and
 * chrome://tracing. */
#ifndef GODWIT_IO_TRACE_FILE_H
#define GODWIT_IO_TRACE_FILE_H

#include "shared/comm.h"
#include "shared/trace.h"

/* Writes the events that the ranks have kept to `path`, on rank 0, atomically. Each rank is a process, "rank
 * N"; times are microseconds from the first span of all, on rank 0's clock, from which the others' differ by
 * what a few messages measure: by less than half of the fastest one's way there and back. The ranks send
 * their events one after the other, in pieces of at most 64 KiB. Does not change the trace, but what
 * observes `world` sees its messages. Collective; every rank returns the same status. Errors: IO, MEMORY. */
status trace_file_write(const struct comm *world, const struct trace *trace,
                        const char *path) STATUS_MUST_USE;

#endif

/* Writes chunks to a target's file in a thread of its own, so that the next one can be made meanwhile: of two
 * rooms one is filled while the other is written, digested and synced. */
#ifndef GODWIT_WORKER_CHUNK_WRITER_H
#define GODWIT_WORKER_CHUNK_WRITER_H

#include "io/target_file.h"
#include "worker/chunk.h"

struct chunk_writer;

/* Rooms of `largest` values. The file is written by the thread only, until chunk_writer_end. Nothing here is
 * collective, nor does the thread talk to other ranks or to the log. */
status chunk_writer_begin(struct target_file *file, int64_t largest,
                          struct chunk_writer **writer) STATUS_MUST_USE;

/* The room to fill, once it is free; NULL if the thread has failed: chunk_writer_end says how. */
float *chunk_writer_room(struct chunk_writer *writer);
/* Gives the room's contents, the chunk's rows, to the thread. */
void chunk_writer_give(struct chunk_writer *writer, const struct chunk *chunk);

/* Waits until all is written and synced, and ends the thread. Returns `error`, or the thread's: also after an
 * error what was written gets its lines in the journal. *busy_s: seconds in which the thread did not wait for
 * chunks. Accepts NULL. */
status chunk_writer_end(struct chunk_writer **writer, status error, double *busy_s) STATUS_MUST_USE;

#endif

/* Tally: which targets of a run with several are published already, so that the run, started again after it
 * was stopped, makes the others only. A text file: "godwit targets 1", the run's key, then a line "NAME PATH"
 * for each, PATH the model's file. Nothing here is collective: rank 0 only. */
#ifndef GODWIT_IO_TALLY_H
#define GODWIT_IO_TALLY_H

#include "shared/status.h"

struct tally;

/* What the file `path` says of the run with this key (one line); nothing if it is not there, or another
 * run's. Errors: IO, MEMORY. */
status tally_open(const char *path, const char *key, struct tally **tally) STATUS_MUST_USE;
void tally_close(struct tally **tally); /* accepts NULL */

/* The model's file of a target that is published, borrowed; NULL: it is not. */
const char *tally_find(const struct tally *tally, const char *name);
/* Adds one, or puts another path in its place, and writes the file, complete or as it was. */
status tally_add(struct tally *tally, const char *name, const char *path) STATUS_MUST_USE;
/* Deletes the file: the run is done. */
void tally_remove(const struct tally *tally);

#endif

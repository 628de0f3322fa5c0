/* How a target's file begins: gone on with, or laid out anew. Internal to io/target_file.c; nothing here is
 * collective. */
#ifndef GODWIT_IO_TARGET_BEGIN_H
#define GODWIT_IO_TARGET_BEGIN_H

#include "io/target_file.h"

/* Takes a lock (flock's `how`) on the file of that path, which ranks that are ending may still hold for a
 * while; does nothing on a file system without locks. IO error if another run has it. */
status target_lock(int fd, int how, const char *path) STATUS_MUST_USE;

/* Opens the file at *fd, locked for this process alone, as one of the task: the one that is there, or a new
 * one. Its journal is written with a new number of the run; *text (owned) is what stands in it. Of a new file
 * nothing is left after an error; *fd is the caller's also then, -1 if it is not open. */
status target_begin(const struct target_task *task, struct log *log, const char *journal_path, int *fd,
                    char **text, size_t *length) STATUS_MUST_USE;

#endif

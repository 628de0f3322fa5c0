/* How a target's file begins: gone on with, or laid out anew. Internal to io/target_file.c and io/results.c;
 * nothing here is collective. */
#ifndef GODWIT_IO_TARGET_BEGIN_H
#define GODWIT_IO_TARGET_BEGIN_H

#include "io/target_file.h"

/* Takes a lock (flock's `how`) on the file of that path, which ranks that are ending may still hold for a
 * while; does nothing on a file system without locks. IO error if another run has it. */
status target_lock(int fd, int how, const char *path) STATUS_MUST_USE;

/* Opens the file that has the name, made if there is none, and locks it: the one that still has it then. One
 * that has another name too was published just before its run was killed: it is left alone. *fd is the
 * caller's also after an error, -1 if it is not open. */
status target_open_locked(const char *path, int *fd) STATUS_MUST_USE;
/* *journal is NULL if there is none that can be read. */
status target_read_journal(const char *path, struct journal **journal) STATUS_MUST_USE;
/* Does the open journal begin with this text? The first bytes have a random number in them. */
status target_same_journal(int fd, const char *path, const char *text, bool *same) STATUS_MUST_USE;
/* Gives it a new number of the run. */
status target_draw_run(struct journal *journal) STATUS_MUST_USE;

/* Opens the file at *fd, locked for this process alone, as one of the task: the one that is there, or a new
 * one. Its journal is written with a new number of the run; *text (owned) is what stands in it. Of a new file
 * nothing is left after an error; *fd is the caller's also then, -1 if it is not open. */
status target_begin(const struct target_task *task, struct log *log, const char *journal_path, int *fd,
                    char **text, size_t *length) STATUS_MUST_USE;

#endif

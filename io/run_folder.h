/* Run folder: <runs>/<name>-<timestamp>/ with run.jsonl (one event a line: timestamp, rank, phase, event,
 * figures), metrics.csv (epoch figures) and config.json (the effective configuration). */
#ifndef GODWIT_IO_RUN_FOLDER_H
#define GODWIT_IO_RUN_FOLDER_H

#include "shared/comm.h"
#include "shared/log.h"

struct run_folder;

/* Rank 0 makes the folder; every rank appends its events to run.jsonl (O_APPEND, a line at a time) by
 * listening to `log`. Collective; returns the same status everywhere. */
status run_folder_create(const char *runs, const char *name, const char *config_json, const struct comm *world,
                         struct log *log, struct run_folder **folder) STATUS_MUST_USE;
const char *run_folder_path(const struct run_folder *folder);
/* Writes a text file into it, atomically. */
status run_folder_write(const struct run_folder *folder, const char *file, const char *text) STATUS_MUST_USE;
/* Stops listening and closes; reports a write that failed earlier (full disk). */
status run_folder_close(struct run_folder **folder) STATUS_MUST_USE;

#endif

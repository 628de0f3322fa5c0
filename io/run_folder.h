/* Run folder: <runs>/<name>-<local time>/ with
 *   run.jsonl    one event a line: {"time", "rank", "phase", "event", "figures": {...}}, time in UTC; figures
 * that are not finite are texts ("nan") metrics.csv  one row for each event "epoch" of rank 0: time, phase,
 * epoch, step, loss, accuracy, holdout_loss, holdout_accuracy, test_loss, test_accuracy, rate, gradient_norm,
 * samples_per_s, seconds; a figure of another name is only in run.jsonl, one that the event lacks is empty
 *   config.json  the effective configuration */
#ifndef GODWIT_IO_RUN_FOLDER_H
#define GODWIT_IO_RUN_FOLDER_H

#include "shared/comm.h"
#include "shared/log.h"

struct run_folder;

/* Rank 0 makes the folder; every rank appends its events to run.jsonl (O_APPEND, a line at a time) by
 * listening to `log`, which must outlive it. The folder must be visible to every rank. Collective; returns
 * the same status everywhere. Errors: IO. */
status run_folder_create(const char *runs, const char *name, const char *config_json,
                         const struct comm *world, struct log *log,
                         struct run_folder **folder) STATUS_MUST_USE;
const char *run_folder_path(const struct run_folder *folder);
/* Writes a text file into it, atomically. Not collective. */
status run_folder_write(const struct run_folder *folder, const char *file, const char *text) STATUS_MUST_USE;
/* Stops listening and closes; reports a write that failed earlier (full disk). Not collective; accepts NULL.
 */
status run_folder_close(struct run_folder **folder) STATUS_MUST_USE;

#endif

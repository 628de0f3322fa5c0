/* Watching a model that is still being trained: a file that its trainer replaces or writes over (Keras's
 * ModelCheckpoint), the newest version of a model in the registry, or the newest model file in a folder of
 * checkpoints. Looks are cheap and never wait; whoever watches sleeps between them. Nothing here is
 * collective: rank 0. */
#ifndef GODWIT_IO_SOURCE_WATCH_H
#define GODWIT_IO_SOURCE_WATCH_H

#include "shared/status.h"

#include <stdbool.h>

struct source_watch;

/* `model` as registry_resolve() takes it, or a folder of files .h5, .hdf5 and .keras. It need not be there
 * yet. USAGE error for name:version, which does not change. */
status source_watch_create(const char *models, const char *model,
                           struct source_watch **watch) STATUS_MUST_USE;
void source_watch_destroy(struct source_watch **watch);

enum source_state {
    SOURCE_MISSING, /* there is none yet */
    SOURCE_SAME,    /* what was taken last */
    SOURCE_MOVING,  /* another one, but it has changed since the last look: somebody may be writing */
    SOURCE_SETTLED  /* another one, which two looks found the same */
};

/* Looks once. */
status source_watch_look(struct source_watch *watch, enum source_state *state) STATUS_MUST_USE;

/* Where the model was at the last look that found one; NULL before. Borrowed, until the next look. */
const char *source_watch_path(const struct source_watch *watch);

/* Takes what the last look found settled: copies it to `copy`, so that it stays what it is however its
 * trainer goes on; *whole tells whether it was the same file before and after; if it was not, or after an
 * error, there is no copy. From then on it is SOURCE_SAME, also if the copy turns out to be no model. *path
 * (owned) is where it came from. Errors: IO; UNSUPPORTED for a model that is a folder. */
status source_watch_take(struct source_watch *watch, const char *copy, char **path,
                         bool *whole) STATUS_MUST_USE;

#endif

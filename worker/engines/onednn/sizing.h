/* How much of the work is done at a time, and by how many threads: from the sizes of the values and the
 * operations. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_SIZING_H
#define GODWIT_WORKER_ENGINES_ONEDNN_SIZING_H

#include "worker/engines/onednn/step.h"

/* Samples of a batch that inference takes through all operations at a time, so that what an operation gives
 * is still in the cache when the next one reads it: the batch in parts of equal size, if it divides well, or
 * all of it. */
int64_t sizing_part(const struct opgraph *graph, int64_t batch);

/* Threads of `threads` that are worth it for a step of an exec whose shapes are known. */
int sizing_threads(const struct onednn_exec *exec, const struct step *step, int threads);

#endif

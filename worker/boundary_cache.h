/* Cache of the source's activations at a stage's boundaries, as the target takes them, for all training
 * samples: the source then runs once for many epochs. In memory or in a scratch file that the ranks of the
 * stage share, which have to be on one node: bfloat16, the logits float32. Right only without augmentation.
 */
#ifndef GODWIT_WORKER_BOUNDARY_CACHE_H
#define GODWIT_WORKER_BOUNDARY_CACHE_H

#include "worker/stage.h"

struct boundary_cache;

/* Bytes that it takes on the stage's node; the first boundary of the first stage is the data set and takes
 * none. */
double boundary_cache_bytes(const struct slicing *slicing, int first, int end, int64_t samples);

/* Empty; in memory, or in a file of a folder, which needs no removing. Collective over the stage's ranks.
 * UNSUPPORTED error if they are not all on one node. */
status boundary_cache_create(const struct stage *stage, const char *folder,
                             struct boundary_cache **cache) STATUS_MUST_USE;
void boundary_cache_destroy(struct boundary_cache **cache); /* collective over the stage's ranks */
/* What the ranks have put can be got by all. Collective over the stage's ranks. */
status boundary_cache_sync(struct boundary_cache *cache) STATUS_MUST_USE;

/* One sample's activations (target's floats), and those of n samples (n, target's floats). */
void boundary_cache_put(struct boundary_cache *cache, int boundary, int64_t sample, const float *x);
void boundary_cache_get(const struct boundary_cache *cache, int boundary, int64_t n, const int64_t *sample,
                        float *x);

#endif

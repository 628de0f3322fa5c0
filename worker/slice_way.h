/* Ways to train the slices of a stage: one is a file and a line here. */
#ifndef GODWIT_WORKER_SLICE_WAY_H
#define GODWIT_WORKER_SLICE_WAY_H

#include "worker/boundary_cache.h"
#include "worker/stage.h"

/* What has been seen since it was zero. */
struct slice_progress {
    struct loss_result loss; /* of the last stage's outputs */
    double boundary_error;   /* blockwise: sum of errors at inner boundaries, relative to their size */
    int64_t boundaries;      /* of so many */
};

struct slice_way {
    const char *name;
    bool flushed; /* stages wait for each other at each step's end */
    /* `cache`: what the source gives for all samples, NULL: computed anew each time. Not collective. After an
     * error close must still be called. */
    status (*open)(struct stage *stage, const struct boundary_cache *cache, void **self);
    /* Steps [step, end) of the stage's epoch: gradients, and stage_update() after each. Every rank does the
     * same steps; after an error a rank keeps its place in all that is exchanged. Not agreed on. */
    status (*run)(void *self, int64_t step, int64_t end, struct slice_progress *progress);
    size_t (*memory)(const void *self); /* bytes held by engines */
    void (*close)(void **self);
};

/* Each slice towards the source's activations at its end; no gradient crosses a boundary. Its inputs are the
 * source's activations at its beginning, or the target's own, as the slice before it makes them of its own
 * inputs: sample by sample, by a share that rises from 0 to 1 over the first training.slices.progressive of
 * all steps, slice after slice (as in BERT-of-Theseus, arXiv 2002.02925). Parallel blockwise distillation:
 * arXiv 2012.03096. */
extern const struct slice_way slice_way_blockwise;
/* All slices together towards logits and labels: activations go forward and gradients back from stage to
 * stage, each stage with one forward and one backward in turn (1F1B, arXiv 1806.03377, flushed after each
 * batch): the same steps as data-parallel training takes. */
extern const struct slice_way slice_way_joint;

/* The share of samples for which a slice takes the target's own activations, in the step `step` of `steps`.
 */
double slice_own_share(double progressive, int slice, int nslices, int64_t step, int64_t steps);

#endif

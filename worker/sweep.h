/* Sweep: all samples of a part of the data set once, in their order, in a stage's turns; the last is repeated
 * to fill the last batch. */
#ifndef GODWIT_WORKER_SWEEP_H
#define GODWIT_WORKER_SWEEP_H

#include "worker/evaluate.h"
#include "worker/boundary_cache.h"
#include "worker/stage.h"

/* Fills the cache with what the source gives for the training samples. The cache's stage; all stages do it
 * together. Collective. */
status sweep_source(struct stage *stage, struct boundary_cache *cache) STATUS_MUST_USE;

/* Loss and accuracy of the target with these parameters of the stage's slices, without anybody having all of
 * them. Collective. */
status sweep_evaluate(struct stage *stage, struct params *params, enum dataset_part part,
                      struct evaluation *evaluation) STATUS_MUST_USE;

/* The same of the source; without samples if it is for another task. Collective. */
status sweep_evaluate_source(struct stage *stage, enum dataset_part part,
                             struct evaluation *evaluation) STATUS_MUST_USE;

#endif

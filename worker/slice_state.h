/* What ranks have of the slices, carried between them, one tensor at a time. */
#ifndef GODWIT_WORKER_SLICE_STATE_H
#define GODWIT_WORKER_SLICE_STATE_H

#include "shared/comm.h"
#include "shared/stages.h"
#include "worker/slicing.h"

/* Each parameter goes from the first rank of its slice's stage to all ranks whose `to` has it. from: of the
 * ranks of its stage, NULL of others; to: NULL for nothing. Both have the numbers of the target's graph, or
 * of the source's. Collective. */
status slice_state_move(const struct comm *world, const struct slicing *slicing, bool source,
                        const struct stages *stages, const struct params *from,
                        struct params *to) STATUS_MUST_USE;

/* Likewise from rank 0, which has all. */
status slice_state_spread(const struct comm *world, const struct params *from,
                          struct params *to) STATUS_MUST_USE;

#endif

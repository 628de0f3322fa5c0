/* Residual blocks: what ends in an Add whose one input is computed from the other. Left out, the Add gives
 * that other one, and what was between is gone. */
#ifndef GODWIT_COORDINATOR_BLOCKS_H
#define GODWIT_COORDINATOR_BLOCKS_H

#include "io/config.h"
#include "shared/graph.h"

struct block {
    int node;  /* the Add */
    int input; /* which of its inputs is the block's own */
};

/* All that can be left out, in the order of the graph; owned by the caller. */
status blocks_find(const struct graph *graph, int *n, struct block **block) STATUS_MUST_USE;

/* How many "target.blocks_removed" asks for, of how many: those not named in "target.depth". USAGE error if
 * there are not so many, or it is no whole number and no fraction. */
status blocks_wanted(const struct target_config *config, const struct graph *folded, int *wanted,
                     int *of) STATUS_MUST_USE;

/* Is the block named in "target.depth"? */
bool block_is_named(const struct target_config *config, const struct graph *graph, const struct block *block);

#endif

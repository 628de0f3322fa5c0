/* Which layers of a topology stand for which of the source: by name, and by their place in the graph. */
#ifndef GODWIT_COORDINATOR_TOPOLOGY_MATCH_H
#define GODWIT_COORDINATOR_TOPOLOGY_MATCH_H

#include "shared/graph.h"

/* Both graphs inferred, batch norms folded. origin[target->nnodes]: the source's node that gives the same
 * tensor, though perhaps with other channels; twin[target->nnodes]: the source's node whose layer the node's
 * layer stands for, so that what it computes before its activation is the same; -1: none.
 *
 * Layers with weights are aligned in the order of the graphs, as sequences are (Needleman and Wunsch 1970):
 * those pairs that together score highest, for having the same name above all, then kind, width, window,
 * activation and relative position. Only layers whose outputs have the same positions (height and width,
 * time) are a pair. Other nodes follow if all that they read has been matched. */
status topology_match(const struct graph *target, const struct graph *source, int *origin,
                      int *twin) STATUS_MUST_USE;

/* Once the target's layers are as wide as the source's: matches nodes without weights that have become equal
 * to the source's (a Reshape to so many channels). */
status topology_follow(const struct graph *target, const struct graph *source, int *origin) STATUS_MUST_USE;

#endif

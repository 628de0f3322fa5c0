/* The ranks that layers need: how many directions hold a part of the variance of their outputs. */
#ifndef GODWIT_WORKER_ENERGY_H
#define GODWIT_WORKER_ENERGY_H

#include "shared/op.h"
#include "worker/calibration.h"

/* rank[n]: for each value (of the graph, with its channels on the last axis) the fewest directions that hold
 * the part `energy` of its variance about the mean, over all positions of all samples; 1 at least.
 * Collective; the same on every rank, whatever the number of ranks. DATA error if an activation is not
 * finite. */
status energy_ranks(const struct machine *machine, const struct opgraph *graph, struct params *params,
                    const struct calibration *calibration, double energy, int n, const int *value,
                    int64_t *rank) STATUS_MUST_USE;

#endif

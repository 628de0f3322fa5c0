/* What the values of a graph lie between, measured on samples: so that an engine can store them as 8-bit
 * integers. */
#ifndef GODWIT_WORKER_RANGES_H
#define GODWIT_WORKER_RANGES_H

#include "worker/machine.h"

/* range[graph->nvalues] of the graph's input and of what its operations give; NaN for other values. Outliers
 * are clipped as far as that makes the mean squared error of rounding to 8 bits least, on a histogram of 2048
 * steps; the input is not. `x`: this rank's n samples of the only input, maybe none. Computed in float32.
 * Collective over machine->world; every rank gets the same, whatever the number of ranks. Errors: UNSUPPORTED
 * (several inputs), DATA (values that are not finite), as the engine. */
status ranges_measure(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      int64_t n, const float *x, struct value_range *range) STATUS_MUST_USE;

#endif

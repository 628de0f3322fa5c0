/* Activations of a graph for this rank's calibration samples, at a frontier that moves forward operation by
 * operation: what later operations still need is kept, the rest is dropped. Not collective. */
#ifndef GODWIT_WORKER_ACTIVATIONS_H
#define GODWIT_WORKER_ACTIVATIONS_H

#include "worker/machine.h"

struct activations;

/* Starts at the input: x (n, sample), borrowed. Runs in blocks of `batch` samples; results do not depend on
 * how samples are split over ranks. `graph` (one input) and `params` are borrowed; params are read at each
 * move.
 */
status activations_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                          const float *x, int64_t n, int64_t batch,
                          struct activations **activations) STATUS_MUST_USE;
void activations_destroy(struct activations **activations);

/* Moves the frontier to just before operation `op` (at or after the present one). */
status activations_advance(struct activations *activations, int op) STATUS_MUST_USE;
/* A value at the frontier, (n, ...); borrowed until the next move; NULL if it is not there. */
const float *activations_at(const struct activations *activations, int value);
/* Any later value computed from the frontier, (n, ...); owned by the caller. */
status activations_compute(struct activations *activations, int value, float **data) STATUS_MUST_USE;
/* The operations from the frontier to `values`, whose inputs are values at the frontier, only those needed.
 * Owned. */
status activations_cut(const struct activations *activations, int n, const int *values,
                       struct opgraph **cut) STATUS_MUST_USE;

#endif

/* Runs a graph over samples of a data set, batch by batch: the inference loop that evaluation, teachers and
 * calibration share. */
#ifndef GODWIT_WORKER_FORWARD_H
#define GODWIT_WORKER_FORWARD_H

#include "io/dataset.h"
#include "worker/machine.h"

struct forward;

/* Compiles `graph` (one input) for inference with `params` on batches of `batch` samples. Not collective. */
status forward_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      int64_t batch, struct forward **forward) STATUS_MUST_USE;
void forward_destroy(struct forward **forward);

/* Reads n <= batch samples (the rest of the batch repeats the last) and computes them. `label` (n) may be
 * NULL. */
status forward_samples(struct forward *forward, struct dataset *dataset, enum dataset_part part,
                       const int64_t *index, int64_t n, int32_t *label) STATUS_MUST_USE;
/* The same for inputs in memory: x (n, sample). */
status forward_inputs(struct forward *forward, const float *x, int64_t n) STATUS_MUST_USE;
/* Output i of the last run, (batch, ...); borrowed. */
const float *forward_output(const struct forward *forward, int i);

#endif

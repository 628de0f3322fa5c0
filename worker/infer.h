/* Inference on inputs in memory: any number of samples, inputs and outputs. Not collective. */
#ifndef GODWIT_WORKER_INFER_H
#define GODWIT_WORKER_INFER_H

#include "worker/machine.h"

#include "shared/tensor.h"

/* Computes the graph's outputs y [noutputs] of its inputs x [ninputs], float32 (samples, ...) each, on
 * machine->engine, a piece of the samples at a time. Errors: UNSUPPORTED (the engine), DATA (shapes that are
 * not the graph's), MEMORY. */
status infer(const struct machine *machine, const struct opgraph *graph, struct params *params,
             int64_t samples, struct tensor *const *x, struct tensor *const *y) STATUS_MUST_USE;

#endif

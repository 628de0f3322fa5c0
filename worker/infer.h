/* Inference on inputs in memory, once: any number of samples, inputs and outputs. Not collective. */
#ifndef GODWIT_WORKER_INFER_H
#define GODWIT_WORKER_INFER_H

#include "io/model.h"
#include "worker/machine.h"

/* Computes the model's outputs y [noutputs] of inputs x [ninputs], float32 (samples, ...) each, on
 * machine->engine. Errors: UNSUPPORTED (the engine), DATA (shapes that are not the model's), MEMORY. */
status infer(const struct machine *machine, const struct model *model, int64_t samples,
             struct tensor *const *x, struct tensor *const *y) STATUS_MUST_USE;

#endif

/* What a godwit_model is. */
#ifndef GODWIT_WORKER_LIBRARY_OPENED_H
#define GODWIT_WORKER_LIBRARY_OPENED_H

#include "worker/library/godwit.h"

#include "io/preprocessing.h"
#include "io/quantization.h"
#include "worker/predictor.h"

struct godwit_model {
    struct model *model;
    struct preprocessing *preprocessing;
    struct quantization quantization;
    struct predictor *predictor;
    struct shape *inputs; /* [ninputs] as the model has them */
};

/* Hands an error to the caller: returns its code, puts the message into *error, drops it. */
int opened_report(status failure, godwit_error *error);
/* The names that the interface's errors have for missing arguments. */
status opened_need(const void *argument, const char *what) STATUS_MUST_USE;

/* With the samples before: (SHAPE_UNKNOWN, dim...), and back. USAGE error: a rank that no shape has. */
status opened_shape(const godwit_shape *sample, struct shape *shape) STATUS_MUST_USE;
void opened_sample(const struct shape *shape, godwit_shape *sample);

/* A run, with what it needs around it. */
status opened_run(godwit_model *model, int64_t samples, const struct shape *shapes,
                  const float *const *inputs, float *const *outputs) STATUS_MUST_USE;

#endif

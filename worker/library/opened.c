#include "worker/library/opened.h"

#include "worker/blas_threads.h"

#include <stdio.h>
#include <string.h>

int opened_report(status failure, godwit_error *error) {
    int code = status_exit_code(status_code(failure));
    if (failure && error) {
        error->code = code;
        snprintf(error->message, sizeof error->message, "%s", status_message(failure));
    }
    status_drop(&failure);
    return code;
}

status opened_need(const void *argument, const char *what) {
    return argument ? SUCCESS : status_fail(STATUS_USAGE, "libgodwit: %s is NULL", what);
}

status opened_shape(const godwit_shape *sample, struct shape *shape) {
    if (sample->rank < 0 || sample->rank > SHAPE_MAX_RANK - 1)
        return status_fail(STATUS_USAGE, "libgodwit: a shape of rank %d; 0 to %d are possible", sample->rank,
                           SHAPE_MAX_RANK - 1);
    *shape = (struct shape){.rank = sample->rank + 1, .dim = {SHAPE_UNKNOWN}};
    memcpy(shape->dim + 1, sample->dim, (size_t)sample->rank * sizeof *sample->dim);
    return SUCCESS;
}

void opened_sample(const struct shape *shape, godwit_shape *sample) {
    *sample = (godwit_shape){.rank = shape->rank - 1};
    memcpy(sample->dim, shape->dim + 1, (size_t)sample->rank * sizeof *sample->dim);
}

status opened_run(godwit_model *model, int64_t samples, const struct shape *shapes,
                  const float *const *inputs, float *const *outputs) {
    const struct opgraph *ops = model->model->ops;
    STATUS_TRY(opened_need(inputs, "the list of inputs"));
    STATUS_TRY(opened_need(outputs, "the list of outputs"));
    if (samples < 0) return status_fail(STATUS_USAGE, "libgodwit: %lld samples", (long long)samples);
    for (int i = 0; samples > 0 && i < ops->ninputs; i++) STATUS_TRY(opened_need(inputs[i], "an input"));
    for (int i = 0; samples > 0 && i < ops->noutputs; i++) STATUS_TRY(opened_need(outputs[i], "an output"));
    blas_threads_hold();
    status error = predictor_run(model->predictor, samples, shapes, inputs, outputs);
    blas_threads_let_go();
    return error;
}

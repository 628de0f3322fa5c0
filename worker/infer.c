#include "worker/infer.h"

#include "worker/predictor.h"

#include <stdlib.h>

static status check_outputs(const struct shape *shape, int n, int64_t samples, struct tensor *const *y) {
    for (int i = 0; i < n; i++) {
        struct shape made = shape[i];
        char makes[SHAPE_TEXT_MAX], given[SHAPE_TEXT_MAX];
        made.dim[0] = samples;
        if (!shape_equal(&made, &y[i]->shape))
            return status_fail(STATUS_DATA, "output %d of the model is %s, not %s", i,
                               shape_format(&made, makes), shape_format(&y[i]->shape, given));
    }
    return SUCCESS;
}

static status check_inputs(int n, int64_t samples, struct tensor *const *x) {
    char given[SHAPE_TEXT_MAX];
    for (int i = 0; i < n; i++)
        if (x[i]->shape.rank < 1 || x[i]->shape.dim[0] != samples)
            return status_fail(STATUS_DATA, "input %d of the model is %s, not of %lld samples", i,
                               shape_format(&x[i]->shape, given), (long long)samples);
    return SUCCESS;
}

static status run(struct predictor *predictor, const struct graph *graph, int64_t samples,
                  struct tensor *const *x, struct tensor *const *y) {
    const size_t nin = (size_t)graph->ninputs + 1, nout = (size_t)graph->noutputs + 1;
    struct shape *in = calloc(nin, sizeof *in), *out = calloc(nout, sizeof *out);
    const float **from = calloc(nin, sizeof *from);
    float **to = calloc(nout, sizeof *to);
    status error = SUCCESS;
    if (!in || !out || !from || !to) error = status_no_memory("inputs", (nin + nout) * sizeof *in);
    if (!error) {
        for (int i = 0; i < graph->ninputs; i++) in[i] = x[i]->shape, from[i] = tensor_f32(x[i]);
        for (int i = 0; i < graph->noutputs; i++) to[i] = tensor_f32(y[i]);
        error = check_inputs(graph->ninputs, samples, x);
    }
    if (!error) error = predictor_outputs(predictor, in, out);
    if (!error) error = check_outputs(out, graph->noutputs, samples, y);
    if (!error) error = predictor_run(predictor, samples, in, from, to);
    free(in);
    free(out);
    free((void *)from);
    free((void *)to);
    return error;
}

status infer(const struct machine *machine, const struct model *model, int64_t samples,
             struct tensor *const *x, struct tensor *const *y) {
    const struct predictor_options options = {.engine = machine->engine, .threads = machine->threads};
    struct predictor *predictor = NULL;
    STATUS_TRY(predictor_create(&options, model, &predictor));
    status error = run(predictor, model->graph, samples, x, y);
    predictor_destroy(&predictor);
    return error;
}

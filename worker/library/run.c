/* Running models on arrays and images. */
#include "worker/library/opened.h"

#include "worker/blas_threads.h"

#include <stdlib.h>
#include <string.h>

/* The shapes that a caller says; owned. */
static status take_shapes(const godwit_model *model, const godwit_shape *given, struct shape **shapes) {
    const int n = model->model->ops->ninputs;
    struct shape *s = calloc((size_t)n + 1, sizeof *s);
    status error = s ? SUCCESS : status_no_memory("shapes", (size_t)n * sizeof *s);
    for (int i = 0; i < n && !error; i++) error = opened_shape(&given[i], &s[i]);
    if (error) free(s);
    *shapes = error ? NULL : s;
    return error;
}

int godwit_run(godwit_model *model, int64_t samples, const float *const *inputs, float *const *outputs,
               godwit_error *error) {
    status failure = opened_need(model, "the model");
    if (!failure) failure = opened_run(model, samples, model->inputs, inputs, outputs);
    return opened_report(failure, error);
}

int godwit_run_shapes(godwit_model *model, int64_t samples, const godwit_shape *shapes,
                      const float *const *inputs, float *const *outputs, godwit_error *error) {
    struct shape *taken = NULL;
    status failure = opened_need(model, "the model");
    if (!failure) failure = opened_need(shapes, "the list of shapes");
    if (!failure) failure = take_shapes(model, shapes, &taken);
    if (!failure) failure = opened_run(model, samples, taken, inputs, outputs);
    free(taken);
    return opened_report(failure, error);
}

static status prepare(godwit_model *model, int64_t samples, const struct shape *shapes) {
    if (samples < 0) return status_fail(STATUS_USAGE, "libgodwit: %lld samples", (long long)samples);
    blas_threads_hold();
    status error = predictor_prepare(model->predictor, samples, shapes);
    blas_threads_let_go();
    return error;
}

int godwit_prepare(godwit_model *model, int64_t samples, const godwit_shape *shapes, godwit_error *error) {
    struct shape *taken = NULL;
    status failure = opened_need(model, "the model");
    if (!failure && shapes) failure = take_shapes(model, shapes, &taken);
    if (!failure) failure = prepare(model, samples, shapes ? taken : model->inputs);
    free(taken);
    return opened_report(failure, error);
}

/* ---- images ---- */

/* The sample that an image becomes; owned. */
static status image_sample(const godwit_model *model, int64_t height, int64_t width, int channels,
                           const uint8_t *pixels, struct tensor **x) {
    struct shape input;
    STATUS_TRY(opened_need(model, "the model"));
    STATUS_TRY(opened_need(pixels, "the image"));
    if (height < 1 || width < 1 || height > IMAGE_MAX_SIDE || width > IMAGE_MAX_SIDE ||
        height > IMAGE_MAX_PIXELS / width || (channels != 1 && channels != 3))
        return status_fail(
            STATUS_USAGE,
            "libgodwit: an image of %lld by %lld pixels with %d channels; 1 and 3 channels are "
            "possible",
            (long long)height, (long long)width, channels);
    STATUS_TRY(model_input(model->model, &input));
    const struct image image = {height, width, channels, (uint8_t *)(uintptr_t)pixels}; /* read only */
    return preprocessing_apply(model->preprocessing, &image, &input, x);
}

static status image_input(const godwit_model *model, int64_t height, int64_t width, int channels,
                          const uint8_t *pixels, godwit_shape *shape, int64_t count, float *input) {
    struct tensor *x = NULL;
    STATUS_TRY(opened_need(shape, "where the shape goes"));
    STATUS_TRY(image_sample(model, height, width, channels, pixels, &x));
    opened_sample(&x->shape, shape);
    status error = SUCCESS;
    if (count && count < x->count)
        error = status_fail(STATUS_USAGE, "libgodwit: the input has %lld floats; there is room for %lld",
                            (long long)x->count, (long long)count);
    if (count && !error) error = opened_need(input, "where the input goes");
    if (count && !error) memcpy(input, tensor_f32(x), (size_t)x->count * sizeof *input);
    tensor_destroy(&x);
    return error;
}

int godwit_image_input(const godwit_model *model, int64_t height, int64_t width, int channels,
                       const uint8_t *pixels, godwit_shape *shape, int64_t count, float *input,
                       godwit_error *error) {
    return opened_report(image_input(model, height, width, channels, pixels, shape, count, input), error);
}

static status run_image(godwit_model *model, int64_t height, int64_t width, int channels,
                        const uint8_t *pixels, float *const *outputs) {
    struct tensor *x = NULL;
    STATUS_TRY(image_sample(model, height, width, channels, pixels, &x));
    status error = opened_run(model, 1, &x->shape, (const float *[]){tensor_f32(x)}, outputs);
    tensor_destroy(&x);
    return error;
}

int godwit_run_image(godwit_model *model, int64_t height, int64_t width, int channels, const uint8_t *pixels,
                     float *const *outputs, godwit_error *error) {
    return opened_report(run_image(model, height, width, channels, pixels, outputs), error);
}

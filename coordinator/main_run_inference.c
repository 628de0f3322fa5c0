/* run_inference: a registry model on an image. */
#include "coordinator/command.h"
#include "coordinator/model_arguments.h"

#include "io/file.h"
#include "io/model.h"
#include "io/prediction.h"
#include "io/registry.h"
#include "worker/forward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct options {
    struct model_arguments model;
    const char *engine, *name, *version, *input, *output;
    long top;
};

enum { OPTION_ENGINE = 0x6001, OPTION_NAME, OPTION_VERSION, OPTION_INPUT, OPTION_OUTPUT, OPTION_TOP };

static const struct argp_option argp_options[] = {
    {"inference-engine", OPTION_ENGINE, "ENGINE", 0,
     "CPU (default: the fastest one built in), onednn or openblas", 0},
    {"model-name", OPTION_NAME, "NAME", 0, "The model: its name in the registry, or a file", 0},
    {"model-version", OPTION_VERSION, "VERSION", 0, "Its version in the registry (default: the highest)", 0},
    {"input", OPTION_INPUT, "IMAGE", 0, "A PNG or JPEG image", 0},
    {"output", OPTION_OUTPUT, "FILE", 0,
     "The image with the best classes below it (.png, .jpg), or .json; of an image-to-image model its image",
     0},
    {"top", OPTION_TOP, "N", 0, "How many classes (default 5)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        o->top = 5;
        state->child_inputs[0] = &o->model;
        return 0;
    case OPTION_ENGINE:
        o->engine = arg;
        return 0;
    case OPTION_NAME:
        o->name = arg;
        return 0;
    case OPTION_VERSION:
        o->version = arg;
        return 0;
    case OPTION_INPUT:
        o->input = arg;
        return 0;
    case OPTION_OUTPUT:
        o->output = arg;
        return 0;
    case OPTION_TOP:
        return command_argument_int(state, "--top", arg, 1, 1000, &o->top);
    case ARGP_KEY_ARG:
        return command_argument_error(state, "unexpected argument \"%s\"; options are written --name=value",
                                      arg);
    case ARGP_KEY_END:
        if (!o->name) return command_argument_error(state, "--model-name is missing");
        if (!o->input) return command_argument_error(state, "--input is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static status find_engine(const char *name, const struct engine **engine) {
    if (name && !strcasecmp(name, "GPU"))
        return status_fail(STATUS_USAGE, "--inference-engine=GPU: this build has no GPU engine; use CPU");
    return engine_find(!name || !strcasecmp(name, "CPU") ? "auto" : name, engine);
}

static status find_model(const struct options *o, char **path) {
    char *wanted = NULL;
    if (asprintf(&wanted, o->version ? "%s:%s" : "%s%s", o->name, o->version ? o->version : "") < 0)
        return status_no_memory("a path", strlen(o->name));
    status error = registry_resolve(o->model.models, wanted, path);
    free(wanted);
    return error;
}

static bool ends_in(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcasecmp(text + n - m, ending);
}

/* Are the model's outputs probabilities? */
static bool gives_probabilities(const struct opgraph *ops) {
    int i = opgraph_producer(ops, ops->output[0]);
    return i >= 0 && (ops->op[i].kind == OP_SOFTMAX ||
                      (ops->op[i].kind == OP_ACTIVATION && ops->op[i].u.act.kind == ACTIVATION_SIGMOID));
}

/* A classifier: its best classes on standard output, and drawn or written as JSON. */
static status answer_classes(const struct options *o, const struct preprocessing *preprocessing,
                             const struct image *image, const struct opgraph *ops, const float *score,
                             double latency) {
    int64_t classes = ops->value[ops->output[0]].dim[1];
    int n = o->top < classes ? (int)o->top : (int)classes;
    struct prediction_class *best = calloc((size_t)n, sizeof *best);
    if (!best) return status_no_memory("a prediction", (size_t)n * sizeof *best);
    prediction_best(preprocessing, score, classes, n, best);
    struct prediction p = {.model = o->name,
                           .image = o->input,
                           .probabilities = gives_probabilities(ops),
                           .latency_s = latency,
                           .n = n,
                           .best = best};
    char text[PREDICTION_SCORE_MAX];
    for (int i = 0; i < n; i++)
        printf("%d. %-24s %8s\n", i + 1, best[i].label, prediction_score(&p, best[i].score, text));
    printf("computed in %.3f ms\n", 1e3 * latency);
    status error = SUCCESS;
    if (o->output && ends_in(o->output, ".json")) {
        char *json = NULL;
        error = prediction_json(&p, &json);
        if (!error) error = file_write_atomic(o->output, json, strlen(json));
        free(json);
    } else if (o->output) {
        error = prediction_draw(&p, image, o->output);
    }
    free(best);
    return error;
}

/* An image-to-image model: y (1, height, width, channels) back to pixels. */
static status answer_image(const struct options *o, const struct preprocessing *preprocessing, const float *y,
                           const struct shape *shape, double latency) {
    struct image *out = NULL;
    if (!o->output) return status_fail(STATUS_USAGE, "--output is missing: the model makes an image");
    STATUS_TRY(image_create(shape->dim[1], shape->dim[2], (int)shape->dim[3], &out));
    for (int64_t i = 0; i < shape->dim[1] * shape->dim[2] * shape->dim[3]; i++) {
        double pixel = (y[i] - preprocessing->offset) / preprocessing->scale;
        out->pixel[i] = (uint8_t)lrint(pixel < 0 || isnan(pixel) ? 0 : pixel > 255 ? 255 : pixel);
    }
    printf("%lld x %lld image computed in %.3f ms\n", (long long)shape->dim[2], (long long)shape->dim[1],
           1e3 * latency);
    status error = image_write(o->output, out);
    image_destroy(&out);
    return error;
}

static status infer(const struct options *o, const struct machine *machine, struct model *model,
                    const struct preprocessing *preprocessing, const struct image *image) {
    struct shape input;
    struct tensor *x = NULL;
    struct forward *forward = NULL;
    STATUS_TRY(model_input(model, &input));
    status error = preprocessing_apply(preprocessing, image, &input, &x);
    if (!error) error = model_set_inputs(model, &x->shape);
    if (!error) error = forward_create(machine, model->ops, model->params, 1, &forward);
    if (!error) error = forward_inputs(forward, tensor_f32(x), 1); /* the first run is not timed */
    double start = comm_time();
    if (!error) error = forward_inputs(forward, tensor_f32(x), 1);
    double latency = comm_time() - start;
    if (!error) {
        const struct shape *out = &model->ops->value[model->ops->output[0]];
        const float *y = forward_output(forward, 0);
        char text[SHAPE_TEXT_MAX];
        if (out->rank == 2) error = answer_classes(o, preprocessing, image, model->ops, y, latency);
        else if (out->rank == 4 && (out->dim[3] == 1 || out->dim[3] == 3))
            error = answer_image(o, preprocessing, y, out, latency);
        else
            error = status_fail(STATUS_UNSUPPORTED, "the model's output %s is neither classes nor an image",
                                shape_format(out, text));
    }
    forward_destroy(&forward);
    tensor_destroy(&x);
    return error;
}

static status run(const struct session *session, const void *parsed) {
    const struct options *o = parsed;
    struct machine machine = {.log = session->log, .threads = session->threads};
    char *path = NULL;
    struct image *image = NULL;
    struct model *model = NULL;
    struct preprocessing *preprocessing = NULL;
    status error = find_engine(o->engine, &machine.engine);
    if (!error) error = find_model(o, &path);
    if (!error) error = image_read(o->input, &image);
    if (!error) error = model_read(path, &o->model.keras, &model);
    if (!error) error = preprocessing_parse(model->preprocessing, &preprocessing);
    if (!error) error = infer(o, &machine, model, preprocessing, image);
    preprocessing_destroy(&preprocessing);
    model_destroy(&model);
    image_destroy(&image);
    free(path);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Runs a model of the registry on an image. The image is made grey or RGB, cropped at its centre "
           "and resized as the "
           "model needs; how pixels become inputs is stored with the model.",
    .children = (const struct argp_child[]){{&model_options_argp, 0, NULL, 0}, {0}},
};

static const struct command command_run_inference = {.name = "run_inference",
                                                     .summary = "runs a model of the registry on an image",
                                                     .argp = &argp,
                                                     .options_size = sizeof(struct options),
                                                     .run = run};

int main(int argc, char **argv) {
    return command_execute(&command_run_inference, "run_inference", argc, argv, argc, argv);
}

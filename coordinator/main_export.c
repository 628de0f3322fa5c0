/* godwit export MODEL DST: a model in another format. */
#include "coordinator/main_commands.h"
#include "coordinator/transfer.h"

struct options {
    struct model_arguments model;
    const char *destination, *format;
    struct input_shapes shapes;
    struct export_options export;
};

enum { OPTION_WEIGHTS_BESIDE = 0x7301 };

static const struct argp_option argp_options[] = {
    {"format", 'f', "NAME", 0, "The format: h5, keras, onnx, c (default: by DST's extension)", 0},
    {"shape", 's', "SHAPE", 0,
     "The shape of an input without the batch, such as 224,224,3, for models that take any size; once for "
     "each "
     "input, in the model's order",
     0},
    {"weights-beside", OPTION_WEIGHTS_BESIDE, NULL, 0,
     "C: weights in a binary file, DST with .weights in the place of .c, which the caller reads or maps", 0},
    {0},
};

static error_t add_shape(struct argp_state *state, struct options *options, const char *arg) {
    status error = input_shapes_add(&options->shapes, arg);
    error_t code = error ? command_argument_error(state, "%s", status_message(error)) : 0;
    status_drop(&error);
    return code;
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        return 0;
    case 'f':
        options->format = arg;
        return 0;
    case 's':
        return add_shape(state, options, arg);
    case OPTION_WEIGHTS_BESIDE:
        options->export.weights_beside = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!options->model.model) return ARGP_ERR_UNKNOWN;
        if (options->destination) return command_argument_error(state, "more than one DST: \"%s\"", arg);
        options->destination = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->destination) return command_argument_error(state, "DST is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static status run(const struct session *session, const void *parsed) {
    const struct options *options = parsed;
    const struct exporter *exporter;
    STATUS_TRY(exporter_find(options->format, options->destination, &exporter));
    return transfer_model(&options->model, &options->shapes, exporter, &options->export, options->destination,
                          session->log, stdout);
}

/* Named after MODEL. */
static const struct argp destination_argp = {.args_doc = "DST"};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Writes a model to the file DST: .h5 is whole-model HDF5, which Keras 2 and Keras 3 load, .keras "
           "is an archive for Keras 3; in both, weights are the same to the byte. .onnx is ONNX, for other "
           "programs to compute, .c is a C file that computes one sample; see docs/export.md. DST is "
           "complete or untouched.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {&destination_argp, 0, NULL, 0}, {0}},
};

const struct command command_export = {
    .name = "export",
    .summary = "writes a model as .h5, .keras, .onnx or .c",
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run,
};

/* godwit export MODEL DST: a model in another format. */
#include "coordinator/main_commands.h"
#include "coordinator/transfer.h"

struct options {
    struct model_arguments model;
    const char *destination, *format;
};

static const struct argp_option argp_options[] = {
    {"format", 'f', "NAME", 0, "The format: h5, keras (default: by DST's extension)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        return 0;
    case 'f':
        options->format = arg;
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
    return transfer_model(&options->model, exporter, options->destination, session->log, stdout);
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "DST",
    .doc = "Writes a model to the file DST: .h5 is whole-model HDF5, which Keras 2 and Keras 3 load, .keras "
           "is an "
           "archive for Keras 3. Weights are the same to the byte. DST is complete or untouched.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {0}},
};

const struct command command_export = {
    .name = "export",
    .summary = "writes a model as .h5 or .keras",
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run,
};

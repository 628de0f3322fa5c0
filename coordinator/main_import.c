/* godwit import SRC DST.h5: a whole-model HDF5 file of what is kept in any other way. */
#include "coordinator/main_commands.h"
#include "coordinator/transfer.h"

struct options {
    struct model_arguments model;
    const char *destination;
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        return 0;
    case ARGP_KEY_ARG:
        if (!options->model.model) return ARGP_ERR_UNKNOWN;
        if (options->destination) return command_argument_error(state, "more than one DST: \"%s\"", arg);
        options->destination = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->destination) return command_argument_error(state, "DST.h5 is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static status run(const struct session *session, const void *parsed) {
    const struct options *options = parsed;
    const struct exporter *exporter, *by_name;
    STATUS_TRY(exporter_find("h5", NULL, &exporter));
    status error = exporter_find(NULL, options->destination, &by_name);
    if (!error && by_name != exporter)
        return status_fail(STATUS_USAGE, "%s: import writes .h5; godwit export writes other formats",
                           options->destination);
    status_drop(&error); /* any other name will do */
    return transfer_model(&options->model, NULL, exporter, &(struct export_options){0}, options->destination,
                          session->log, stdout);
}

/* Named after MODEL. */
static const struct argp destination_argp = {.args_doc = "DST.h5"};

static const struct argp argp = {
    .parser = parse,
    .doc = "Reads a model in any form that Keras keeps models in and writes it as one whole-model HDF5 file, "
           "which "
           "needs no --topology and no --aliases any more: files of weights alone, .keras, .weights.h5, "
           "models of "
           "TensorFlow.js, of Keras 1, of cuDNN's layers. Weights that need no conversion are the same to "
           "the byte. "
           "DST.h5 is complete or untouched.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {&destination_argp, 0, NULL, 0}, {0}},
};

const struct command command_import = {
    .name = "import",
    .summary = "makes a whole-model .h5 of a model kept in any other way",
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run,
};

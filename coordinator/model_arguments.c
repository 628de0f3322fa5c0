#include "coordinator/model_arguments.h"

#include "coordinator/command.h"
#include "io/registry.h"

enum { OPTION_TOPOLOGY = 0x7101, OPTION_ALIASES };

static const struct argp_option options[] = {
    {"models", 'm', "DIR", 0, "The registry's folder (default: GODWIT_MODELS, or models)", 1},
    {"topology", OPTION_TOPOLOGY, "FILE", 0,
     "The topology of a model file that has weights only: JSON as Keras's model.to_json() writes it, or "
     "another "
     "model file",
     1},
    {"aliases", OPTION_ALIASES, "FILE", 0,
     "Which known layers the model's custom classes stand for (JSON; see godwit help aliases)", 1},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    struct model_arguments *arguments = state->input;
    switch (key) {
    case 'm':
        arguments->models = arg;
        return 0;
    case OPTION_TOPOLOGY:
        arguments->keras.topology = arg;
        return 0;
    case OPTION_ALIASES:
        arguments->keras.aliases = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp model_options_argp = {.options = options, .parser = parse_option};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct model_arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = arguments;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->model) return command_argument_error(state, "one MODEL only, not \"%s\" too", arg);
        arguments->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model) return command_argument_error(state, "MODEL is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp model_argp = {
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "\vMODEL is a file or folder with a Keras model (.h5, .hdf5, .keras, .weights.h5, a folder of "
           "TensorFlow.js), or NAME[:VERSION] in the registry.",
    .children = (const struct argp_child[]){{&model_options_argp, 0, NULL, 0}, {0}},
};

status model_arguments_resolve(const struct model_arguments *arguments, char **path) {
    return registry_resolve(arguments->models, arguments->model, path);
}

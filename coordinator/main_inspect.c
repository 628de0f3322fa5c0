/* godwit inspect: what is in a model, and whether godwit can work with all of it. */
#include "coordinator/main_commands.h"
#include "io/keras.h"
#include "io/model_report.h"
#include "io/registry.h"

#include <stdio.h>
#include <stdlib.h>

struct options {
    const char *model, *models;
    bool json;
};

static const struct argp_option argp_options[] = {
    {"json", 'j', NULL, 0, "Print JSON, for programs", 0},
    {"models", 'm', "DIR", 0, "The registry's folder (default: GODWIT_MODELS, or models)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case 'm':
        options->models = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) return command_argument_error(state, "more than one MODEL: \"%s\"", arg);
        options->model = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        return command_argument_error(state, "MODEL is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static status run(const struct session *session, const void *parsed) {
    (void)session;
    const struct options *options = parsed;
    char *path = NULL, *text = NULL;
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    status error;
    STATUS_GOTO(error, done, registry_resolve(options->models, options->model, &path));
    STATUS_GOTO(error, done, keras_open(path, NULL, &file, &graph));
    STATUS_GOTO(error, done,
                options->json ? model_report_json(graph, path, &text)
                              : model_report_text(graph, path, &text));
    fputs(text, stdout);
done:
    free(text);
    graph_destroy(&graph);
    keras_close(&file);
    free(path);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Lists the layers of a model with their output shapes, parameters and floating-point operations "
           "for one "
           "sample (a multiply-add is two). If the model has layers or options that godwit cannot work with, "
           "all of "
           "them are named and the exit code is 69.\v"
           "MODEL is a Keras file (.h5), or NAME[:VERSION] in the registry.",
};

const struct command command_inspect = {
    .name = "inspect",
    .summary = "layers, shapes, parameters and operations of a model; what is unsupported in it",
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run,
};

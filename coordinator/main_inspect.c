/* godwit inspect: what is in a model, and whether godwit can work with all of it. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/model_arguments.h"

#include "io/model_report.h"

#include <stdio.h>
#include <stdlib.h>

struct options {
    struct model_arguments model;
    bool json;
};

static const struct argp_option argp_options[] = {
    {"json", 'j', NULL, 0, "Print JSON, for programs", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    (void)arg;
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What is unsupported is shown with the rest, then is the error. */
static status run(const struct session *session, const void *parsed) {
    (void)session;
    const struct options *options = parsed;
    char *path = NULL, *text = NULL;
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct problems problems = {0};
    struct keras_options keras = options->model.keras;
    keras.unsupported = &problems;
    status error;
    STATUS_GOTO(error, done, model_arguments_resolve(&options->model, &path));
    STATUS_GOTO(error, done, keras_open(path, &keras, &file, &graph));
    struct model_report report = {path, keras_container(file), graph, &problems};
    STATUS_GOTO(error, done,
                options->json ? model_report_json(&report, &text) : model_report_text(&report, &text));
    fputs(text, stdout);
    error = status_context(problems_take(&problems), "%s", path);
done:
    problems_clear(&problems);
    free(text);
    graph_destroy(&graph);
    keras_close(&file);
    free(path);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Lists the layers of a model with their output shapes, parameters and floating-point operations "
           "for one sample (a multiply-add is two). If the model has layers or options that godwit cannot "
           "work with, they are marked in the table, all of them are named, and the exit code is 69.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {0}},
};

const struct command command_inspect = {
    .name = "inspect",
    .summary = "layers, shapes, parameters and operations of a model; what is unsupported in it",
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run,
};

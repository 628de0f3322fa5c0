/* godwit plan CONFIG: compiles and prints the migration program. */
#include "coordinator/command.h"
#include "coordinator/config_arguments.h"
#include "coordinator/main_commands.h"
#include "coordinator/program.h"

#include "io/digest.h"
#include "io/file.h"
#include "io/keras.h"
#include "io/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct config_arguments config;
    const char *output, *plan;
};

static const struct argp_option argp_options[] = {
    {"plan", 'p', "FILE", 0, "Check the program in FILE instead, and print it", 0},
    {"output", 'o', "FILE", 0, "Write the program to FILE instead of standard output", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        return 0;
    case 'p':
        options->plan = arg;
        return 0;
    case 'o':
        options->output = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static status run(const struct session *session, const void *parsed) {
    const struct options *options = parsed;
    struct config *config = NULL;
    struct keras_file *file = NULL;
    struct graph *source = NULL;
    struct compiled *compiled = NULL;
    char *path = NULL, *digest = NULL, *text = NULL;
    status error;
    STATUS_GOTO(error, done, config_load(NULL, &options->config, &config));
    STATUS_GOTO(error, done, config_require_one_target(config));
    STATUS_GOTO(error, done, config_require(config, "name"));
    STATUS_GOTO(error, done, config_require(config, "source"));
    STATUS_GOTO(error, done, registry_resolve(config->models, config->source.model, &path));
    STATUS_GOTO(error, done, file_digest(path, &digest));
    const struct keras_options keras = config_keras_options(config);
    STATUS_GOTO(error, done, keras_open(path, &keras, &file, &source));
    const struct program_source from = {source, path, digest};
    STATUS_GOTO(error, done, program_compile(NULL, session->log, &from, config, options->plan, &compiled));
    STATUS_GOTO(error, done, plan_print(compiled->plan, &text));
    if (options->output) error = file_write_atomic(options->output, text, strlen(text));
    else fputs(text, stdout);
done:
    free(text);
    compiled_destroy(&compiled);
    graph_destroy(&source);
    keras_close(&file);
    free(digest);
    free(path);
    config_destroy(&config);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Compiles the source and the target of a configuration and prints the migration program: which "
           "source tensor each "
           "target tensor comes from, which part of it and through which transforms. Reads no weights; "
           "within a budget all layers "
           "are narrowed alike, as what each costs is measured only by godwit migrate.\v"
           "godwit help program describes the language. godwit migrate --plan runs an edited program. After "
           "a run "
           "of godwit migrate the executed program, with the chosen channels and the residual of each refit, "
           "lies "
           "beside the target as plan.txt.",
    .children = (const struct argp_child[]){{&config_argp, 0, NULL, 0}, {0}},
};

const struct command command_plan = {.name = "plan",
                                     .summary = "compiles and prints the migration program",
                                     .argp = &argp,
                                     .options_size = sizeof(struct options),
                                     .run = run};

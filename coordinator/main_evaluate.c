/* godwit evaluate MODEL --data SPEC: loss, accuracy and latency. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/model_arguments.h"

#include "io/dataset.h"
#include "io/model.h"
#include "worker/evaluate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_SECONDS 0.5

struct options {
    struct model_arguments model;
    const char *data, *engine;
    bool json;
};

static const struct argp_option argp_options[] = {
    {"data", 'd', "SPEC", 0,
     "The data set: a folder or file, or a configuration (.json) whose \"data\" is used", 0},
    {"engine", 'e', "NAME", 0, "What computes: auto (default), onednn, openblas", 0},
    {"json", 'j', NULL, 0, "Print JSON, for programs", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        return 0;
    case 'd':
        options->data = arg;
        return 0;
    case 'e':
        options->engine = arg;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_END:
        if (!options->data) return command_argument_error(state, "--data is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The configuration behind --data: a file's, or the defaults with its path. Not collective. */
static status data_configuration(const char *spec, struct config **config) {
    size_t length = strlen(spec);
    if (length > 5 && !strcmp(spec + length - 5, ".json")) return config_read(spec, config);
    STATUS_TRY(config_parse("{}", "--data", config));
    free((*config)->data.path);
    (*config)->data.path = strdup(spec);
    if ((*config)->data.path) return SUCCESS;
    config_destroy(config);
    return status_no_memory("a path", length);
}

static void print(const struct options *o, const struct evaluation *e, double latency) {
    if (o->json)
        printf("{\"samples\": %lld, \"correct\": %lld, \"accuracy\": %.9g, \"loss\": %.9g, \"latency_ms\": "
               "%.6g}\n",
               (long long)e->samples, (long long)e->correct, e->accuracy, e->loss, 1e3 * latency);
    else
        printf("accuracy %.2f %% (%lld of %lld), loss %.4f, latency of one sample %.3f ms\n",
               100 * e->accuracy, (long long)e->correct, (long long)e->samples, e->loss, 1e3 * latency);
}

static status run(const struct session *session, const void *parsed) {
    const struct options *o = parsed;
    struct machine machine = {
        .world = session->world, .node = session->node, .log = session->log, .threads = session->threads};
    struct config *config = NULL;
    struct model *model = NULL;
    struct opgraph *logits = NULL;
    struct dataset *data = NULL;
    char *path = NULL;
    struct shape input = {0};
    int64_t classes = 0;
    struct evaluation e = {0};
    double latency = 0;
    status error = engine_find(o->engine, &machine.engine);
    if (!error) error = data_configuration(o->data, &config);
    if (!error) error = model_arguments_resolve(&o->model, &path);
    if (!error) error = model_read(path, &o->model.keras, &model);
    if (!error) error = model_input(model, &input);
    if (!error) error = model_classes(model, &classes);
    if (!error) error = model_logits(model, &logits);
    error = comm_agree(session->world, error);
    if (!error)
        error = dataset_open(&config->data, &input, classes, (uint64_t)config->seed, session->node, &data);
    error = comm_agree(session->world, error);
    if (!error && dataset_size(data, DATASET_TEST) == 0)
        error = status_fail(STATUS_DATA, "\"%s\" has no test part to evaluate on", config->data.path);
    if (!error) error = evaluate(&machine, logits, model->params, data, DATASET_TEST, &e);
    if (!error && comm_is_root(session->world)) {
        error = measure_latency(&machine, model->ops, model->params, 1, LATENCY_SECONDS, &latency);
        if (!error) print(o, &e, latency);
    }
    dataset_close(&data);
    opgraph_destroy(&logits);
    model_destroy(&model);
    config_destroy(&config);
    free(path);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Computes the model's accuracy and cross-entropy over the test part of a data set, split over the "
           "ranks, and the "
           "median latency of one sample on the first rank's threads.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {0}},
};

const struct command command_evaluate = {.name = "evaluate",
                                         .summary = "loss, accuracy and latency of a model on a data set",
                                         .parallel = true,
                                         .argp = &argp,
                                         .options_size = sizeof(struct options),
                                         .run = run};

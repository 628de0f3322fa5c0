/* godwit evaluate MODEL: loss, accuracy and latency on a data set, or agreement with a golden pair. */
#include "coordinator/command.h"
#include "coordinator/config_arguments.h"
#include "coordinator/main_commands.h"
#include "coordinator/main_golden.h"
#include "coordinator/model_arguments.h"

#include "io/dataset.h"
#include "io/model.h"
#include "worker/evaluate.h"
#include "worker/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_SECONDS 0.5

struct options {
    struct model_arguments model;
    const char *data, *golden, *engine, *precision;
    double tolerance;
    bool json;
};

static const struct argp_option argp_options[] = {
    {"data", 'd', "SPEC", 0,
     "The data set: a folder or file, or a configuration (.json) whose \"data\" is used", 0},
    {"golden", 'g', "FILE", 0,
     "Instead of a data set: an HDF5 file with reference inputs x and outputs y (of several x0, x1, ..., y0, "
     "y1, ..., or x/<layer>, y/<layer>), each (N, ...)",
     0},
    {"tolerance", 't', "T", 0,
     "With --golden: the largest difference allowed, as a part of max|y| (default 1e-4)", 0},
    {"engine", 'e', "NAME", 0, "What computes: auto (default), onednn, openblas; with --golden also all", 0},
    {"precision", 'p', "NAME", 0,
     "With --data: auto (default: what the model says, where that is faster), float32, bfloat16, int8", 0},
    {"json", 'j', NULL, 0, "Print JSON, for programs", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        options->tolerance = GOLDEN_TOLERANCE;
        return 0;
    case 'd':
        options->data = arg;
        return 0;
    case 'g':
        options->golden = arg;
        return 0;
    case 't':
        return command_argument_number(state, "--tolerance", arg, 0, 1, &options->tolerance);
    case 'e':
        options->engine = arg;
        return 0;
    case 'p':
        if (!precision_is_name(arg))
            return command_argument_error(state, "--precision: \"%s\" is not " PRECISION_NAMES, arg);
        options->precision = arg;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_END:
        if (!options->data && !options->golden)
            return command_argument_error(state, "--data or --golden is missing");
        if (options->golden && options->precision)
            return command_argument_error(state, "--precision goes with --data; --golden is for float32");
        if (options->data && options->golden)
            return command_argument_error(state, "give --data or --golden, not both");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(const struct options *o, enum precision precision, const struct evaluation *e,
                  double latency) {
    if (o->json)
        printf("{\"samples\": %lld, \"correct\": %lld, \"accuracy\": %.9g, \"loss\": %.9g, \"latency_ms\": "
               "%.6g, \"precision\": \"%s\"}\n",
               (long long)e->samples, (long long)e->correct, e->accuracy, e->loss, 1e3 * latency,
               precision_name(precision));
    else
        printf("accuracy %.2f %% (%lld of %lld), loss %.4f, latency of one sample %.3f ms%s%s\n",
               100 * e->accuracy, (long long)e->correct, (long long)e->samples, e->loss, 1e3 * latency,
               precision ? ", in " : "", precision ? precision_name(precision) : "");
}

/* Not collective. */
static status compare_golden(const struct session *session, const struct options *o) {
    char *path = NULL, *text = NULL;
    struct golden_report report = {0};
    STATUS_TRY(model_arguments_resolve(&o->model, &path));
    const struct golden_task task = {path, &o->model.keras, o->golden, o->engine, o->tolerance};
    status error = golden_check(session, &task, &report);
    if (!error)
        error = o->json ? golden_report_json(&report, path, &text) : golden_report_text(&report, path, &text);
    if (!error) {
        fputs(text, stdout);
        error = golden_report_verdict(&report);
    }
    golden_report_clear(&report);
    free(text);
    free(path);
    return error;
}

static status evaluate_data(const struct session *session, const struct options *o) {
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
    struct quantization quantization = {0};
    double latency = 0;
    status error = engine_find(o->engine, &machine.engine);
    if (!error) error = config_of_data(o->data, &config);
    if (!error) error = model_arguments_resolve(&o->model, &path);
    if (!error) error = model_read(path, &o->model.keras, &model);
    if (!error) error = model_input(model, &input);
    if (!error) error = model_classes(model, &classes);
    error = comm_agree(session->world, error);
    if (!error)
        error = dataset_open(&config->data, &input, classes, (uint64_t)config->seed, session->node, &data);
    error = comm_agree(session->world, error);
    if (!error && dataset_size(data, DATASET_TEST) == 0)
        error = status_fail(STATUS_DATA, "\"%s\" has no test part to evaluate on", config->data.path);
    if (!error) error = model_set_inputs(model, dataset_sample_shape(data));
    if (!error) error = model_logits(model, &logits);
    if (!error) error = precision_choose(o->precision, model, machine.engine, &quantization);
    error = comm_agree(session->world, error);
    machine.precision = quantization.precision;
    machine.range = quantization.range;
    if (!error) error = evaluate(&machine, logits, model->params, data, DATASET_TEST, &e);
    if (!error && comm_is_root(session->world)) {
        error = measure_latency(&machine, model->ops, model->params, 1, LATENCY_SECONDS, &latency);
        if (!error) print(o, machine.precision, &e, latency);
    }
    quantization_clear(&quantization);
    dataset_close(&data);
    opgraph_destroy(&logits);
    model_destroy(&model);
    config_destroy(&config);
    free(path);
    return error;
}

static status run(const struct session *session, const void *parsed) {
    const struct options *o = parsed;
    if (!o->golden) return evaluate_data(session, o);
    return comm_is_root(session->world) ? compare_golden(session, o) : SUCCESS;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "With --data: the model's accuracy and cross-entropy over the test part of a data set, split over "
        "the "
        "ranks, and the median latency of one sample on the first rank's threads. With --golden: the largest "
        "difference between the model's outputs and the reference outputs, for each output; if one is larger "
        "than the tolerance, the exit code is 65.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {0}},
};

const struct command command_evaluate = {
    .name = "evaluate",
    .summary = "accuracy and latency on a data set; agreement with reference outputs",
    .parallel = true,
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run};

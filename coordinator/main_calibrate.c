/* godwit calibrate MODEL DST.h5 --data SPEC: a model that says at what precision it is to be run, and, for
 * int8, what its values lie between, measured on samples. */
#include "coordinator/config_arguments.h"
#include "coordinator/main_commands.h"
#include "coordinator/model_arguments.h"
#include "io/quantization.h"
#include "worker/calibration.h"
#include "worker/evaluate.h"
#include "worker/ranges.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_SECONDS 0.3

struct options {
    struct model_arguments model;
    const char *destination, *data, *engine;
    enum precision precision;
    long samples;
};

static const struct argp_option argp_options[] = {
    {"data", 'd', "SPEC", 0,
     "The data set: a folder or file, or a configuration (.json) whose \"data\" is used; needs no labels", 0},
    {"samples", 'n', "N", 0, "Training samples to measure on (default 1024)", 0},
    {"precision", 'p', "NAME", 0,
     "int8 (default), bfloat16, or float32, which takes back what the model says", 0},
    {"engine", 'e', "NAME", 0, "What computes: auto (default), onednn, openblas", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->model;
        options->precision = PRECISION_INT8;
        options->samples = 1024;
        return 0;
    case 'd':
        options->data = arg;
        return 0;
    case 'n':
        return command_argument_int(state, "--samples", arg, 1, 1L << 30, &options->samples);
    case 'p':
        if (precision_find(arg, &options->precision)) return 0;
        return command_argument_error(state, "--precision: \"%s\" is none of float32, bfloat16, int8", arg);
    case 'e':
        options->engine = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (!options->model.model) return ARGP_ERR_UNKNOWN;
        if (options->destination) return command_argument_error(state, "more than one DST.h5: \"%s\"", arg);
        options->destination = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->destination) return command_argument_error(state, "DST.h5 is missing");
        if (!options->data) return command_argument_error(state, "--data is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What one run of the command has open. */
struct calibrating {
    struct machine machine;
    struct config *config;
    struct model *model;
    struct opgraph *ops;    /* of the model, for samples of the data's shape */
    struct opgraph *logits; /* NULL: the model is no classifier */
    struct dataset *data;
    struct quantization quantization;
};

static status read_model(struct calibrating *c, const struct options *o) {
    char *path = NULL;
    STATUS_TRY(engine_find(o->engine, &c->machine.engine));
    STATUS_TRY(config_of_data(o->data, &c->config));
    STATUS_TRY(model_arguments_resolve(&o->model, &path));
    status error = model_read(path, &o->model.keras, &c->model);
    free(path);
    return error;
}

/* `classes` 0: not a classifier, accuracy is not spoken of. */
static status fit_model(struct calibrating *c, int64_t classes) {
    if (!dataset_size(c->data, DATASET_TRAIN))
        return status_fail(STATUS_DATA, "\"%s\" has no training part to measure on", c->config->data.path);
    STATUS_TRY(model_fit(c->model, dataset_sample_shape(c->data), &c->ops));
    if (!opgraph_same(c->ops, c->model->ops))
        return status_fail(
            STATUS_UNSUPPORTED,
            "for samples of this shape the model computes with other operations than for any; give it "
            "the shape first (godwit export --shape)");
    const int logits = opgraph_before_softmax(c->ops, c->ops->output[0]);
    return classes ? opgraph_cut(c->ops, c->ops->ninputs, c->ops->input, 1, &logits, &c->logits) : SUCCESS;
}

static status open_data(struct calibrating *c) {
    struct shape input;
    int64_t classes = 0;
    status error = model_input(c->model, &input);
    if (!error) error = model_classes(c->model, &classes);
    if (status_code(error) == STATUS_UNSUPPORTED && c->model->ops->ninputs == 1) status_drop(&error);
    STATUS_TRY(comm_agree(c->machine.world, error));
    STATUS_TRY(dataset_open(&c->config->data, &input, classes, (uint64_t)c->config->seed, c->machine.node,
                            &c->data));
    return fit_model(c, classes);
}

static status measure(struct calibrating *c, const struct options *o) {
    struct calibration *samples = NULL;
    const struct opgraph *ops = c->ops;
    c->quantization.precision = o->precision;
    if (o->precision != PRECISION_INT8) return SUCCESS;
    STATUS_TRY(comm_agree(c->machine.world,
                          memory_alloc("ranges", (size_t)ops->nvalues + 1, sizeof(struct value_range),
                                       (void **)&c->quantization.range)));
    STATUS_TRY(
        calibration_create(&c->machine, c->data, o->samples, (uint64_t)c->config->seed, false, &samples));
    status error =
        ranges_measure(&c->machine, ops, c->model->params, samples->n, samples->x, c->quantization.range);
    if (!error)
        log_line(c->machine.log, LOG_INFO, "what values lie between: measured on %lld samples",
                 (long long)samples->total);
    calibration_destroy(&samples);
    return error;
}

/* Accuracy, if there are test samples with labels, and latency, in float32 and as the model is now to be run.
 */
static status compare(struct calibrating *c) {
    const struct quantization *q = &c->quantization;
    struct evaluation e[2] = {0};
    double latency[2] = {0};
    status error = SUCCESS;
    if (!c->machine.engine->has(q->precision) && comm_is_root(c->machine.world))
        log_line(c->machine.log, LOG_WARN,
                 "the engine has no faster %s on this processor: the model runs in float32 here",
                 precision_name(q->precision));
    const bool labelled = c->logits && dataset_classes(c->data) && dataset_size(c->data, DATASET_TEST) > 0;
    for (int i = 0; i < 2; i++) {
        c->machine.precision = i ? q->precision : PRECISION_FLOAT32;
        c->machine.range = q->range;
        if (labelled)
            STATUS_TRY(evaluate(&c->machine, c->logits, c->model->params, c->data, DATASET_TEST, &e[i]));
        if (comm_is_root(c->machine.world) && !error)
            error = measure_latency(&c->machine, c->ops, c->model->params, 1, LATENCY_SECONDS, &latency[i]);
    }
    STATUS_TRY(comm_agree(c->machine.world, error));
    for (int i = 0; i < 2 && comm_is_root(c->machine.world); i++) {
        printf("%-9s", precision_name(i ? q->precision : PRECISION_FLOAT32));
        if (labelled)
            printf("accuracy %.2f %% (%lld of %lld), ", 100 * e[i].accuracy, (long long)e[i].correct,
                   (long long)e[i].samples);
        printf("latency of one sample %.3f ms\n", 1e3 * latency[i]);
    }
    return SUCCESS;
}

static status calibrate(struct calibrating *c, const struct options *o) {
    STATUS_TRY(comm_agree(c->machine.world, read_model(c, o)));
    STATUS_TRY(comm_agree(c->machine.world, open_data(c)));
    STATUS_TRY(measure(c, o));
    status error = SUCCESS;
    if (comm_is_root(c->machine.world)) {
        error = quantization_write(c->model, &c->quantization);
        if (!error) error = model_write(o->destination, c->model);
    }
    STATUS_TRY(comm_agree(c->machine.world, error));
    return compare(c);
}

static status run(const struct session *session, const void *parsed) {
    struct calibrating c = {.machine = {.world = session->world,
                                        .node = session->node,
                                        .log = session->log,
                                        .threads = session->threads}};
    status error = calibrate(&c, parsed);
    quantization_clear(&c.quantization);
    dataset_close(&c.data);
    opgraph_destroy(&c.logits);
    opgraph_destroy(&c.ops);
    model_destroy(&c.model);
    config_destroy(&c.config);
    return error;
}

/* Named after MODEL. */
static const struct argp destination_argp = {.args_doc = "DST.h5"};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Writes the model to DST.h5 (which may be MODEL's own file) with a note that it is to be run in "
           "int8 or "
           "bfloat16 where the processor is faster so; its weights stay what they are. For int8 it measures, "
           "on training "
           "samples, what every value in the model lies between. Then prints accuracy, if the data set has a "
           "test part "
           "with labels, and latency in float32 and as noted. Models that migrate makes with "
           "target.precision have such "
           "a note already. DST.h5 is complete or untouched.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {&destination_argp, 0, NULL, 0}, {0}},
};

const struct command command_calibrate = {
    .name = "calibrate",
    .summary = "notes in a model that it is to be run in int8 or bfloat16",
    .parallel = true,
    .argp = &argp,
    .options_size = sizeof(struct options),
    .run = run,
};

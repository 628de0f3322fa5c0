/* godwit predict MODEL: what a model gives for many samples, as HDF5, CSV or JSON lines. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/model_arguments.h"

#include "io/digest.h"
#include "io/file.h"
#include "io/model.h"
#include "worker/precision.h"
#include "worker/predict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct model_arguments model;
    const char *engine, *precision, *input, *output, *format, *preprocess;
    long batch, threads, top;
    double scale, offset;
    bool scale_given, offset_given, all, skip_bad;
};

enum {
    OPTION_FORMAT = 0x6101,
    OPTION_BATCH,
    OPTION_THREADS,
    OPTION_TOP,
    OPTION_ALL,
    OPTION_SCALE,
    OPTION_OFFSET,
    OPTION_PREPROCESS,
    OPTION_PRECISION,
    OPTION_SKIP_BAD
};

static const struct argp_option argp_options[] = {
    {"input", 'i', "IN", 0,
     "HDF5 file (FILE[:NAME], by default \"x\" or the only data set; of several inputs NAME/<input>, NAME0, "
     "NAME1, ...), IDX file, folder of images, or pattern of images in quotation marks",
     0},
    {"output", 'o', "OUT", 0,
     "File to write: .h5 (FILE[:NAME], by default \"y\"; of several outputs NAME0, NAME1, ..., or, if NAME "
     "ends "
     "in /, NAME/<output>), .csv or .jsonl",
     0},
    {"format", OPTION_FORMAT, "NAME", 0, "hdf5, csv, jsonl, or auto (default): by the name's ending", 0},
    {"top", OPTION_TOP, "K", 0, "CSV and JSON lines of a classifier: its K best classes (default 1)", 0},
    {"all", OPTION_ALL, NULL, 0, "CSV and JSON lines of a classifier: all its outputs", 0},
    {"skip-bad", OPTION_SKIP_BAD, NULL, 0,
     "Go on if an image cannot be read: its outputs are NaN or empty, with the error beside them", 0},
    {"engine", 'e', "NAME", 0, "What computes: auto (default), onednn, openblas", 0},
    {"precision", OPTION_PRECISION, "NAME", 0,
     "auto (default: what the model says, where that is faster), float32, bfloat16, int8", 0},
    {"batch", OPTION_BATCH, "N", 0, "Samples that are computed at once (default: by their size)", 0},
    {"threads", OPTION_THREADS, "N", 0, "Threads of a rank (default: its share of the node's cores)", 0},
    {"scale", OPTION_SCALE, "S", 0, "Inputs are x * S + O, whatever numbers x are", 0},
    {"offset", OPTION_OFFSET, "O", 0, "See --scale", 0},
    {"preprocess", OPTION_PREPROCESS, "WORDS", 0,
     "Of images and bytes, instead of what is stored with the model; see run_inference --help", 0},
    {0},
};

static error_t parse_end(const struct options *o, struct argp_state *state) {
    if (!o->input) return command_argument_error(state, "--input is missing");
    if (!o->output) return command_argument_error(state, "--output is missing");
    if (o->all && o->top) return command_argument_error(state, "give --top or --all, not both");
    return 0;
}

static error_t parse_number(int key, const char *arg, struct argp_state *state, struct options *o) {
    switch (key) {
    case OPTION_BATCH:
        return command_argument_int(state, "--batch", arg, 1, 1 << 20, &o->batch);
    case OPTION_THREADS:
        return command_argument_int(state, "--threads", arg, 0, 4096, &o->threads);
    case OPTION_TOP:
        return command_argument_int(state, "--top", arg, 1, RESULTS_TOP_MAX, &o->top);
    case OPTION_SCALE:
        o->scale_given = true;
        return command_argument_number(state, "--scale", arg, -1e30, 1e30, &o->scale);
    case OPTION_OFFSET:
        o->offset_given = true;
        return command_argument_number(state, "--offset", arg, -1e30, 1e30, &o->offset);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case 'i':
        o->input = arg;
        return 0;
    case 'o':
        o->output = arg;
        return 0;
    case 'e':
        o->engine = arg;
        return 0;
    case OPTION_FORMAT:
        o->format = arg;
        return 0;
    case OPTION_PREPROCESS:
        o->preprocess = arg;
        return 0;
    case OPTION_PRECISION:
        if (!precision_is_name(arg))
            return command_argument_error(state, "--precision: \"%s\" is not " PRECISION_NAMES, arg);
        o->precision = arg;
        return 0;
    case OPTION_ALL:
        o->all = true;
        return 0;
    case OPTION_SKIP_BAD:
        o->skip_bad = true;
        return 0;
    case ARGP_KEY_END:
        return parse_end(o, state);
    default:
        return parse_number(key, arg, state, o);
    }
}

/* A model, what it is for, and where that goes. */
struct job {
    const struct options *options;
    struct machine machine;
    char *path; /* of the model, owned */
    struct model *model;
    struct quantization quantization;
    struct preprocessing *preprocessing;
    struct samples *samples;
    char *output, *dataset; /* OUT and NAME, owned */
    enum results_kind kind;
    char *model_digest, *input_digest, *settings; /* owned */
    struct shape *shape;                          /* [noutputs] of the outputs, owned */
    const char **name;                            /* [noutputs] owned, the names are the graph's */
    int64_t batch, block;
};

static void clear(struct job *job) {
    samples_close(&job->samples);
    preprocessing_destroy(&job->preprocessing);
    quantization_clear(&job->quantization);
    model_destroy(&job->model);
    free(job->path);
    free(job->output);
    free(job->dataset);
    free(job->model_digest);
    free(job->input_digest);
    free(job->settings);
    free(job->shape);
    free(job->name);
}

/* FILE:NAME where FILE ends as HDF5 does, or --format says so. */
static status split_output(struct job *job) {
    const struct options *o = job->options;
    job->output = strdup(o->output);
    if (!job->output) return status_no_memory("a path", strlen(o->output));
    char *colon = strrchr(job->output, ':');
    if (colon && colon != job->output) {
        *colon = '\0';
        status error = results_kind_find(o->format, job->output, &job->kind);
        bool is_name = !error && job->kind == RESULTS_HDF5;
        status_drop(&error);
        if (is_name) {
            job->dataset = strdup(colon + 1);
            return job->dataset ? SUCCESS : status_no_memory("a name", strlen(colon));
        }
        *colon = ':';
    }
    return results_kind_find(o->format, job->output, &job->kind);
}

static status read_preprocessing(struct job *job) {
    const struct options *o = job->options;
    STATUS_TRY(preprocessing_parse(job->model->preprocessing, &job->preprocessing));
    if (o->preprocess) STATUS_TRY(preprocessing_change(job->preprocessing, o->preprocess));
    if (o->scale_given || o->offset_given) {
        job->preprocessing->scale = o->scale_given ? o->scale : 1;
        job->preprocessing->offset = o->offset;
        job->preprocessing->nmean = o->preprocess ? job->preprocessing->nmean : 0;
    }
    return SUCCESS;
}

static status find_outputs(struct job *job) {
    const struct opgraph *ops = job->model->ops;
    const struct graph *graph = job->model->graph;
    job->shape = calloc((size_t)ops->noutputs + 1, sizeof *job->shape);
    job->name = calloc((size_t)ops->noutputs + 1, sizeof *job->name);
    if (!job->shape || !job->name) return status_no_memory("outputs", sizeof *job->shape);
    for (int i = 0; i < ops->noutputs; i++) {
        char text[SHAPE_TEXT_MAX];
        job->shape[i] = ops->value[ops->output[i]];
        job->name[i] = graph->layer[graph->node[graph->output[i].node].layer].name;
        if (job->shape[i].rank < 1 || shape_sample_count(&job->shape[i]) < 1)
            return status_fail(STATUS_UNSUPPORTED, "output %s of the model is %s: its size is not known",
                               job->name[i], shape_format(&job->shape[i], text));
    }
    return SUCCESS;
}

/* All that a rank can do alone. */
static status open_job(struct job *job) {
    const struct options *o = job->options;
    STATUS_TRY(engine_find(o->engine, &job->machine.engine));
    STATUS_TRY(split_output(job));
    STATUS_TRY(model_arguments_resolve(&o->model, &job->path));
    STATUS_TRY(model_read(job->path, &o->model.keras, &job->model));
    STATUS_TRY(read_preprocessing(job));
    const struct samples_task task = {.path = o->input,
                                      .graph = job->model->graph,
                                      .preprocessing = job->preprocessing,
                                      .scaled = o->scale_given || o->offset_given,
                                      .skip_bad = o->skip_bad};
    STATUS_TRY(samples_open(&task, &job->samples));
    if (samples_are_in(job->samples, job->output) || file_same(job->path, job->output))
        return status_fail(STATUS_USAGE, "--output: %s is read by this run; give another name", job->output);
    STATUS_TRY(model_set_inputs(job->model, samples_shapes(job->samples)));
    STATUS_TRY(precision_choose(o->precision, job->model, job->machine.engine, &job->quantization));
    job->machine.precision = job->quantization.precision;
    job->machine.range = job->quantization.range;
    STATUS_TRY(find_outputs(job));
    predict_sizes(job->model->ops, samples_count(job->samples), o->batch, &job->batch, &job->block);
    return SUCCESS;
}

/* ---- what tells one job from another ---- */

static status add_digest(const char *path, FILE *out) {
    char *digest = NULL;
    if (path) STATUS_TRY(file_digest(path, &digest));
    fprintf(out, "%s\n", digest ? digest : "none");
    free(digest);
    return SUCCESS;
}

static status find_settings(struct job *job) {
    const struct options *o = job->options;
    char *json = NULL, text[SHAPE_TEXT_MAX];
    size_t length = 0;
    STATUS_TRY(preprocessing_print(job->preprocessing, &json));
    FILE *out = open_memstream(&job->settings, &length);
    if (!out) {
        free(json);
        return status_no_memory("settings", 0);
    }
    fprintf(out, "%s %s\n%s\n%d %lld\n", job->machine.engine->name, precision_name(job->machine.precision),
            json, o->scale_given || o->offset_given, (long long)job->batch);
    for (int i = 0; i < job->model->ops->ninputs; i++)
        fprintf(out, "%s\n", shape_format(&samples_shapes(job->samples)[i], text));
    status error = add_digest(o->model.keras.topology, out);
    if (!error) error = add_digest(o->model.keras.aliases, out);
    free(json);
    return fclose(out) && !error ? status_no_memory("settings", 0) : error;
}

/* All ranks must see the same samples. Collective. */
static status find_digests(const struct comm *world, struct job *job) {
    char *mine[2] = {NULL, NULL};
    status error = samples_digest(job->samples, &mine[0]);
    if (!error && comm_is_root(world)) error = file_digest_shown(job->path, job->machine.log, &mine[1]);
    if (!error) error = find_settings(job);
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, mine[0], &job->input_digest);
    if (!error) error = comm_bcast_text(world, 0, mine[1], &job->model_digest);
    if (!error && strcmp(mine[0], job->input_digest) != 0)
        error =
            status_fail(STATUS_IO, "%s: this rank sees other files than rank 0; give a folder that all see",
                        job->options->input);
    free(mine[0]);
    free(mine[1]);
    return comm_agree(world, error);
}

/* ---- the work ---- */

/* How many classes a text has for each sample; 0: all outputs. */
static status find_top(const struct job *job, int *top) {
    const struct options *o = job->options;
    const struct opgraph *ops = job->model->ops;
    bool classes = ops->noutputs == 1 && job->shape[0].rank == 2 && job->shape[0].dim[1] > 1;
    *top = 0;
    if (o->top && (job->kind == RESULTS_HDF5 || !classes))
        return status_fail(STATUS_USAGE,
                           job->kind == RESULTS_HDF5
                               ? "--top is for CSV and JSON lines; HDF5 has all outputs"
                               : "--top is for classifiers; this model's outputs are no classes");
    if (!classes || o->all || job->kind == RESULTS_HDF5) return SUCCESS;
    *top = o->top ? (int)o->top : 1;
    if (*top > job->shape[0].dim[1]) *top = (int)job->shape[0].dim[1];
    return SUCCESS;
}

static void tell(const struct job *job, const struct predict_counts *counts, double seconds) {
    struct log *log = job->machine.log;
    log_line(log, LOG_INFO, "%s: %lld samples, of which %lld were computed in %.2f s, %.0f samples/s",
             job->output, (long long)samples_count(job->samples), (long long)counts->samples, seconds,
             seconds > 0 ? (double)counts->samples / seconds : 0);
    log_line(log, LOG_DEBUG, "this rank read for %.2f s, computed for %.2f s and wrote for %.2f s",
             counts->read_s, counts->compute_s, counts->write_s);
    if (counts->bad && comm_is_root(job->machine.world))
        log_line(log, LOG_WARN, "%lld of %lld images could not be read%s", (long long)counts->bad,
                 (long long)samples_count(job->samples),
                 counts->resumed ? ", not counting those of the run before" : "");
}

/* Collective. */
static status do_job(struct job *job, int top) {
    const struct comm *world = job->machine.world;
    const struct results_task task = {.path = job->output,
                                      .dataset = job->dataset,
                                      .kind = job->kind,
                                      .samples = samples_count(job->samples),
                                      .block = job->block,
                                      .noutputs = job->model->ops->noutputs,
                                      .shape = job->shape,
                                      .name = job->name,
                                      .file = samples_files(job->samples),
                                      .skip_bad = job->options->skip_bad,
                                      .top = top,
                                      .preprocessing = job->preprocessing,
                                      .model = job->model_digest,
                                      .input = job->input_digest,
                                      .settings = job->settings};
    struct results *results = NULL;
    struct predict_counts counts = {0};
    double start = comm_time();
    STATUS_TRY(results_open(world, job->machine.log, &task, &results));
    const struct predict_task work = {job->model->ops, job->model->params, job->samples, results, job->batch};
    status error = predict(&job->machine, &work, &counts);
    if (!error) error = results_publish(world, &results);
    if (!error) tell(job, &counts, comm_time() - start);
    if (error && status_code(error) == STATUS_DATA) results_abandon(world, &results);
    results_close(&results);
    return error;
}

static status run(const struct session *session, const void *parsed) {
    const struct options *o = parsed;
    struct job job = {.options = o,
                      .machine = {.world = session->world,
                                  .node = session->node,
                                  .log = session->log,
                                  .threads = session_threads(session, o->threads)}};
    int top = 0;
    status error = open_job(&job);
    if (!error) error = find_top(&job, &top);
    error = comm_agree(session->world, error);
    if (!error) error = find_digests(session->world, &job);
    if (!error) samples_tell(job.samples, session->log);
    if (!error) error = do_job(&job, top);
    clear(&job);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "Computes a model's outputs for all samples, which the ranks share, and writes them in the order of "
        "the samples. Unsigned bytes and images become inputs by the scale, offset, means and deviations "
        "that are stored with the model (x / 255 if there are none), other numbers are taken as they are, "
        "NaNs too. Memory does not grow with the samples. A run that was "
        "killed goes on where it was when the same command is started again, on any number of ranks; SIGTERM "
        "ends it with exit code 75. The output is complete or absent; one that is there is replaced.",
    .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {0}},
};

const struct command command_predict = {.name = "predict",
                                        .summary =
                                            "what a model gives for many samples, as HDF5, CSV or JSON lines",
                                        .parallel = true,
                                        .argp = &argp,
                                        .options_size = sizeof(struct options),
                                        .run = run};

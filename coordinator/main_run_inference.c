/* run_inference: a registry model on images. */
#include "coordinator/command.h"
#include "coordinator/main_run_inference_answers.h"
#include "coordinator/model_arguments.h"

#include "io/model.h"
#include "io/registry.h"
#include "worker/precision.h"
#include "worker/predictor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BATCH 16 /* images that are computed together */
#define INPUTS_MAX 1024

struct options {
    struct model_arguments model;
    const char *engine, *precision, *name, *version, *output, *preprocess;
    const char *input[INPUTS_MAX];
    int ninputs;
    long top, tile, batch, threads;
    bool json;
};

enum {
    OPTION_ENGINE = 0x6001,
    OPTION_NAME,
    OPTION_VERSION,
    OPTION_INPUT,
    OPTION_OUTPUT,
    OPTION_TOP,
    OPTION_JSON,
    OPTION_PREPROCESS,
    OPTION_PRECISION,
    OPTION_TILE,
    OPTION_BATCH,
    OPTION_THREADS
};

static const struct argp_option argp_options[] = {
    {"inference-engine", OPTION_ENGINE, "ENGINE", 0,
     "CPU (default: the fastest one built in), onednn or openblas; GPU is not built in: exit code 2", 0},
    {"precision", OPTION_PRECISION, "NAME", 0,
     "auto (default: what the model says, where that is faster), float32, bfloat16, int8", 0},
    {"model-name", OPTION_NAME, "NAME", 0, "The model: its name in the registry, or a file", 0},
    {"model-version", OPTION_VERSION, "VERSION", 0, "Its version in the registry (default: the highest)", 0},
    {"input", OPTION_INPUT, "IMAGE", 0,
     "A PNG or JPEG image, a folder of them, or a pattern in quotation marks; may be given several times", 0},
    {"output", OPTION_OUTPUT, "FILE", 0,
     "The image with the best classes below it (.png, .jpg), or .json; of an image-to-image model its image; "
     "of "
     "several images a folder",
     0},
    {"top", OPTION_TOP, "N", 0, "How many classes (default 5)", 0},
    {"json", OPTION_JSON, NULL, 0, "Print JSON, for programs: an object, of several images a list", 0},
    {"preprocess", OPTION_PREPROCESS, "WORDS", 0,
     "Instead of what is stored with the model, with commas between them: crop=centre (the middle, of the "
     "input's aspect), crop=none (all, squeezed) or crop=X:Y:WIDTH:HEIGHT; size=HEIGHTxWIDTH or size=own, "
     "where "
     "the model takes any; resize=smooth, bilinear, area or nearest; colour=grey, rgb or model; scale=S, "
     "offset=O, mean=M, std=S, the last two for all channels or one for each, 0.485:0.456:0.406: an input is "
     "(pixel * scale + offset - mean) / std",
     0},
    {"tile", OPTION_TILE, "N", 0,
     "Image-to-image models: longest side of the tiles that a large image is computed in (default: by "
     "memory); "
     "0: as a whole",
     0},
    {"batch", OPTION_BATCH, "N", 0, "How many images are computed together (default 16)", 0},
    {"threads", OPTION_THREADS, "N", 0, "Threads (default: all cores)", 0},
    {0},
};

static error_t parse_number(int key, const char *arg, struct argp_state *state, struct options *o) {
    switch (key) {
    case OPTION_TOP:
        return command_argument_int(state, "--top", arg, 1, 1000, &o->top);
    case OPTION_TILE: {
        error_t failed = command_argument_int(state, "--tile", arg, 0, IMAGE_MAX_SIDE, &o->tile);
        if (o->tile == 0) o->tile = -1;
        return failed;
    }
    case OPTION_BATCH:
        return command_argument_int(state, "--batch", arg, 1, 4096, &o->batch);
    case OPTION_THREADS:
        return command_argument_int(state, "--threads", arg, 0, 4096, &o->threads);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        o->top = 5;
        o->batch = BATCH;
        state->child_inputs[0] = &o->model;
        return 0;
    case OPTION_ENGINE:
        o->engine = arg;
        return 0;
    case OPTION_PRECISION:
        if (!precision_is_name(arg))
            return command_argument_error(state, "--precision: \"%s\" is not " PRECISION_NAMES, arg);
        o->precision = arg;
        return 0;
    case OPTION_NAME:
        o->name = arg;
        return 0;
    case OPTION_VERSION:
        o->version = arg;
        return 0;
    case OPTION_INPUT:
        if (o->ninputs == INPUTS_MAX)
            return command_argument_error(state, "more than %d times --input; give a folder", INPUTS_MAX);
        o->input[o->ninputs++] = arg;
        return 0;
    case OPTION_OUTPUT:
        o->output = arg;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case OPTION_PREPROCESS:
        o->preprocess = arg;
        return 0;
    case ARGP_KEY_ARG:
        return command_argument_error(state, "unexpected argument \"%s\"; options are written --name=value",
                                      arg);
    case ARGP_KEY_END:
        if (!o->name) return command_argument_error(state, "--model-name is missing");
        if (!o->ninputs) return command_argument_error(state, "--input is missing");
        return 0;
    default:
        return parse_number(key, arg, state, o);
    }
}

static status find_engine(const char *name, const struct engine **engine) {
    if (name && !strcasecmp(name, "GPU"))
        return status_fail(STATUS_USAGE, "--inference-engine=GPU: this build has no GPU engine; use CPU");
    return engine_find(!name || !strcasecmp(name, "CPU") ? "auto" : name, engine);
}

static status find_model(const struct options *o, char **path) {
    char *wanted = NULL;
    if (asprintf(&wanted, o->version ? "%s:%s" : "%s%s", o->name, o->version ? o->version : "") < 0)
        return status_no_memory("a path", strlen(o->name));
    status error = registry_resolve(o->model.models, wanted, path);
    free(wanted);
    return error;
}

/* A model and what it is run on. */
struct job {
    const struct options *options;
    const struct session *session;
    struct image_list images;
    struct model *model;
    struct preprocessing *preprocessing;
    struct predictor *predictor;
    struct answers *answers;
};

/* Are the model's outputs probabilities? */
static bool gives_probabilities(const struct opgraph *ops) {
    int i = opgraph_producer(ops, ops->output[0]);
    return i >= 0 && (ops->op[i].kind == OP_SOFTMAX ||
                      (ops->op[i].kind == OP_ACTIVATION && ops->op[i].u.act.kind == ACTIVATION_SIGMOID));
}

/* ---- classes ---- */

/* Images of the same shape that are computed together. */
struct batch {
    int first, n;
    struct image **image; /* [batch], owned */
    struct tensor **x;    /* [batch], owned: one sample each */
};

static void clear_batch(struct batch *b) {
    for (int i = 0; i < b->n; i++) {
        image_destroy(&b->image[i]);
        tensor_destroy(&b->x[i]);
    }
    b->first += b->n;
    b->n = 0;
}

static status answer_batch(struct job *job, const struct batch *b, int64_t classes, const float *y,
                           double seconds) {
    int n = job->options->top < classes ? (int)job->options->top : (int)classes;
    struct prediction_class *best = calloc((size_t)n, sizeof *best);
    if (!best) return status_no_memory("a prediction", (size_t)n * sizeof *best);
    status error = SUCCESS;
    for (int i = 0; i < b->n && !error; i++) {
        struct prediction p = {.probabilities = gives_probabilities(job->model->ops),
                               .latency_s = seconds / b->n,
                               .n = n,
                               .best = best};
        prediction_best(job->preprocessing, y + i * classes, classes, n, best);
        error = answers_classes(job->answers, b->first + i, &p, b->image[i]);
    }
    free(best);
    return error;
}

/* x (n, ...) of the batch's samples. */
static void gather(const struct batch *b, float *x) {
    for (int i = 0; i < b->n; i++)
        memcpy(x + i * b->x[0]->count, b->x[i]->data, (size_t)b->x[0]->count * sizeof *x);
}

static status run_batch(struct job *job, const struct batch *b) {
    struct shape out;
    float *x = NULL, *y = NULL;
    const struct shape *shape = &b->x[0]->shape;
    STATUS_TRY(predictor_outputs(job->predictor, shape, &out));
    int64_t classes = shape_sample_count(&out);
    status error =
        memory_alloc("images (lower --batch)", (size_t)b->n, (size_t)b->x[0]->count * sizeof *x, (void **)&x);
    if (!error) error = memory_alloc("outputs", (size_t)b->n, (size_t)classes * sizeof *y, (void **)&y);
    if (!error) error = predictor_prepare(job->predictor, b->n, shape);
    if (!error) gather(b, x);
    double start = comm_time();
    if (!error)
        error = predictor_run(job->predictor, b->n, shape, (const float *const[]){x}, (float *const[]){y});
    if (!error) error = answer_batch(job, b, classes, y, comm_time() - start);
    free(x);
    free(y);
    return error;
}

static status add_image(struct job *job, struct batch *b, const struct shape *input) {
    const char *path = job->images.path[b->first + b->n];
    struct image *image = NULL;
    struct tensor *x = NULL;
    STATUS_TRY(image_read(path, &image));
    status error = status_context(preprocessing_apply(job->preprocessing, image, input, &x), "%s", path);
    if (!error && b->n && !shape_equal(&x->shape, &b->x[0]->shape)) {
        error = run_batch(job, b);
        clear_batch(b);
    }
    if (error) {
        image_destroy(&image);
        tensor_destroy(&x);
        return error;
    }
    b->image[b->n] = image;
    b->x[b->n++] = x;
    return SUCCESS;
}

static status classify(struct job *job, const struct shape *input) {
    size_t room = (size_t)job->options->batch;
    struct batch b = {.image = calloc(room, sizeof *b.image), .x = calloc(room, sizeof *b.x)};
    status error = b.image && b.x ? SUCCESS : status_no_memory("images", room * sizeof *b.x);
    while (!error && b.first + b.n < job->images.n) {
        error = add_image(job, &b, input);
        if (error || (b.n < job->options->batch && b.first + b.n < job->images.n)) continue;
        error = run_batch(job, &b);
        clear_batch(&b);
    }
    clear_batch(&b);
    free(b.image);
    free(b.x);
    return error;
}

/* ---- images ---- */

struct canvas {
    const struct preprocessing *preprocessing;
    struct image *image;
};

static void paint(void *context, int64_t top, int64_t left, int64_t height, int64_t width, int64_t stride,
                  const float *y) {
    const struct canvas *canvas = context;
    struct image *image = canvas->image;
    for (int64_t row = 0; row < height; row++) {
        uint8_t *to = image->pixel + ((top + row) * image->width + left) * image->channels;
        for (int64_t i = 0; i < width * image->channels; i++)
            to[i] =
                preprocessing_pixel(canvas->preprocessing, (int)(i % image->channels), y[row * stride + i]);
    }
}

static void tell_whole(const struct job *job, const char *path, const struct tiles_report *r) {
    if (r->why)
        log_line(
            job->session->log, LOG_WARN,
            "%s is computed as a whole, which may take up to %.0f MiB: %s keeps the model from being run on "
            "tiles",
            path, r->bytes / 1048576, r->why);
    else
        log_line(job->session->log, LOG_DEBUG,
                 "%lld x %lld tiles of %lld x %lld with margins of %lld and %lld", (long long)r->columns,
                 (long long)r->rows, (long long)r->width, (long long)r->height, (long long)r->margin[1],
                 (long long)r->margin[0]);
}

static status make_image(struct job *job, int i, const struct image *pixels) {
    struct canvas canvas = {.preprocessing = job->preprocessing};
    const struct tiles_task task = {.model = job->model,
                                    .predictor = job->predictor,
                                    .preprocessing = job->preprocessing,
                                    .pixels = pixels,
                                    .size = job->options->tile,
                                    .put = paint,
                                    .context = &canvas};
    struct tiles_report report;
    struct shape out;
    STATUS_TRY(tiles_output(&task, &out));
    STATUS_TRY(image_create(out.dim[1], out.dim[2], (int)out.dim[3], &canvas.image));
    status error = tiles_run(&task, &report);
    if (!error) tell_whole(job, job->images.path[i], &report);
    if (!error) error = answers_image(job->answers, i, canvas.image, &report);
    image_destroy(&canvas.image);
    return error;
}

static status make_images(struct job *job, const struct shape *input) {
    STATUS_TRY(answers_need_images(job->answers));
    for (int i = 0; i < job->images.n; i++) {
        struct image *image = NULL, *pixels = NULL;
        STATUS_TRY(image_read(job->images.path[i], &image));
        status error = preprocessing_fit(job->preprocessing, image, input, &pixels);
        image_destroy(&image);
        if (!error) error = make_image(job, i, pixels);
        image_destroy(&pixels);
        STATUS_TRY(status_context(error, "%s", job->images.path[i]));
    }
    return SUCCESS;
}

/* ---- both ---- */

static status infer(struct job *job) {
    const struct opgraph *ops = job->model->ops;
    const struct shape *out = &ops->value[ops->output[0]];
    char text[SHAPE_TEXT_MAX];
    struct shape input;
    STATUS_TRY(model_input(job->model, &input));
    if (out->rank == 2) return classify(job, &input);
    if (out->rank == 4 && (out->dim[3] == 1 || out->dim[3] == 3)) return make_images(job, &input);
    return status_fail(STATUS_UNSUPPORTED, "the model's output %s is neither classes nor an image",
                       shape_format(out, text));
}

static status open_job(struct job *job, const struct engine **engine, char **path) {
    const struct options *o = job->options;
    STATUS_TRY(find_engine(o->engine, engine));
    STATUS_TRY(find_model(o, path));
    for (int i = 0; i < o->ninputs; i++) STATUS_TRY(image_list_add(&job->images, o->input[i]));
    STATUS_TRY(model_read(*path, &o->model.keras, &job->model));
    STATUS_TRY(preprocessing_parse(job->model->preprocessing, &job->preprocessing));
    if (o->preprocess) STATUS_TRY(preprocessing_change(job->preprocessing, o->preprocess));
    const struct answers_task answers = {o->name, o->output, o->json, &job->images};
    return answers_begin(&answers, &job->answers);
}

static status run(const struct session *session, const void *parsed) {
    struct job job = {.options = parsed, .session = session};
    struct predictor_options options = {.threads = session_threads(session, job.options->threads)};
    struct quantization quantization = {0};
    char *path = NULL;
    status error = open_job(&job, &options.engine, &path);
    if (!error) error = precision_choose(job.options->precision, job.model, options.engine, &quantization);
    options.precision = quantization.precision;
    options.range = quantization.range;
    if (!error) error = predictor_create(&options, job.model, &job.predictor);
    if (!error) error = infer(&job);
    error = answers_end(&job.answers, error);
    predictor_destroy(&job.predictor);
    quantization_clear(&quantization);
    preprocessing_destroy(&job.preprocessing);
    model_destroy(&job.model);
    image_list_clear(&job.images);
    free(path);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "Runs a model of the registry on images. An image is made grey or RGB, cropped at its centre and "
        "resized as the model needs; how pixels become inputs is stored with the model. Of a classifier the "
        "best classes are printed, an image-to-image model makes images, large ones in tiles that overlap "
        "by what the model sees around each pixel.",
    .children = (const struct argp_child[]){{&model_options_argp, 0, NULL, 0}, {0}},
};

static const struct command command_run_inference = {.name = "run_inference",
                                                     .summary = "runs a model of the registry on images",
                                                     .argp = &argp,
                                                     .options_size = sizeof(struct options),
                                                     .run = run};

int main(int argc, char **argv) {
    return command_execute(&command_run_inference, "run_inference", argc, argv, argc, argv);
}

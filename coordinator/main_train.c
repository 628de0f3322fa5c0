/* godwit train CONFIG: trains a model from its topology. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/freeze.h"
#include "coordinator/main_training.h"

#include "io/file.h"
#include "io/keras.h"
#include "worker/evaluate.h"
#include "worker/initialize.h"

#include <math.h>
#include <stdlib.h>

#define TOPOLOGY_MAX ((size_t)64 << 20)

struct options {
    struct config_arguments config;
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    (void)arg;
    struct options *options = state->input;
    if (key != ARGP_KEY_INIT) return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = &options->config;
    return 0;
}

/* Rank 0 reads the topology, everybody builds the model. Collective. */
static status read_topology(const struct job *job, struct model **model) {
    const struct comm *world = job->session->world;
    char *mine = NULL, *json = NULL;
    status error = config_require(job->config, "topology");
    if (!error && comm_is_root(world)) error = file_read_text(job->config->topology, TOPOLOGY_MAX, &mine);
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, mine, &json);
    free(mine);
    if (error) return error;
    struct graph *graph = NULL;
    error = keras_graph_from_json(json, &graph);
    if (!error) error = model_create(graph, model);
    error = status_context(error, "topology \"%s\"", job->config->topology);
    free(json);
    return comm_agree(world, error);
}

static status train_model(struct job *job, struct model *model, struct opgraph *logits) {
    const struct config *c = job->config;
    struct log *log = job->session->log;
    int64_t *thaw = NULL;
    STATUS_TRY(comm_agree(job->session->world, freeze_parse(&c->training, model->graph, &thaw)));
    initialize_params(model->graph, model->ops, (uint64_t)c->seed, model->params);
    struct job_training training = {.graph = logits, .params = model->params, .thaw = thaw};
    struct job_trained trained;
    job_phase(job, "train");
    status error = job_train(job, &training, &trained);
    free(thaw);
    STATUS_TRY(error);
    double seconds = job_phase(job, "evaluate");
    struct evaluation test = {0};
    STATUS_TRY(evaluate(&job->machine, logits, model->params, job->data, DATASET_TEST, &test));
    LOG_EVENT(log, "test", {"accuracy", test.accuracy, NULL}, {"loss", test.loss, NULL});

    enum { OWN = 5 };
    struct provenance_metric metrics[OWN + JOB_TRAINED_METRICS] = {
        {"test_accuracy", test.samples ? test.accuracy : NAN},
        {"test_loss", test.samples ? test.loss : NAN},
        {"holdout_accuracy", trained.holdout_accuracy},
        {"train_seconds", seconds},
        {"samples_per_s", trained.samples_per_s}};
    job_trained_metrics(&trained, metrics + OWN);
    struct job_result published = {
        .model = model, .metric = metrics, .nmetrics = (int)(sizeof metrics / sizeof *metrics)};
    char *path = NULL;
    job_phase(job, "publish");
    STATUS_TRY(job_publish(job, &published, &path));
    if (test.samples)
        log_line(log, LOG_INFO, "test accuracy %.2f %% (%lld of %lld), loss %.4f", 100 * test.accuracy,
                 (long long)test.correct, (long long)test.samples, test.loss);
    log_line(log, LOG_INFO, "trained in %.1f s (%.0f samples/s); model written to %s", seconds,
             trained.samples_per_s, path);
    free(path);
    return SUCCESS;
}

/* There is none to distil from. */
static void leave_out_source(struct loss_config *loss) {
    if (loss->distillation < 0) loss->distillation = 0;
    if (loss->temperature == 0) loss->temperature = 1;
}

static status run(const struct session *session, const void *options) {
    const struct options *o = options;
    struct job job;
    struct model *model = NULL;
    struct opgraph *logits = NULL;
    status error = job_open(session, &o->config, &job);
    if (!error) leave_out_source(&job.config->training.loss);
    if (!error) error = read_topology(&job, &model);
    if (!error) error = job_open_data(&job, model);
    if (!error) error = comm_agree(session->world, model_logits(model, &logits));
    if (!error) error = comm_agree(session->world, dataset_preprocessing(job.data, &model->preprocessing));
    if (!error) error = train_model(&job, model, logits);
    opgraph_destroy(&logits);
    model_destroy(&model);
    return job_close(&job, error);
}

static const struct argp argp = {
    .parser = parse,
    .doc = "Trains a model from its topology, data-parallel over the ranks, and writes it as a Keras .h5 "
           "into the registry, or to the configuration's \"output\".",
    .children = (const struct argp_child[]){{&config_argp, 0, NULL, 0}, {0}},
};

const struct command command_train = {.name = "train",
                                      .summary = "trains a model from its topology (makes sources)",
                                      .parallel = true,
                                      .argp = &argp,
                                      .options_size = sizeof(struct options),
                                      .run = run};

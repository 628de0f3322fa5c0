#include "coordinator/main_training.h"

#include <stdlib.h>

static char given[] = "given";

/* What was decided, for a person to read, and to be set. Not collective: rank 0. */
static status write_decisions(const struct job *job, const struct tuning *tuning) {
    struct config tuned = *job->config;
    char *json = NULL;
    tuned.training = tuning->config;
    tuned.data.augment = given;
    tuned.data.flip = tuning->augmentation.flip;
    tuned.data.shift = tuning->augmentation.shift;
    STATUS_TRY(run_folder_write(job->folder, "tuning.txt", tuning->evidence));
    STATUS_TRY(config_print(&tuned, &json));
    status error = run_folder_write(job->folder, "tuned.json", json);
    free(json);
    return error;
}

struct job_trained job_trained_by(const struct training_config *config, const struct tuning *tuning) {
    return (struct job_trained){
        .config = *config, .augmentation = tuning->augmentation, .tuning_s = tuning->seconds};
}

static status train_tuned(struct job *job, struct train_task *task, const struct tuning *tuning,
                          struct job_trained *trained) {
    struct train_result result;
    task->config = &tuning->config;
    task->teacher = tuning->teacher;
    task->augment = tuning->augmentation.flip || tuning->augmentation.shift > 0;
    task->holdout_class = tuning->holdout_class;
    task->spent_s = tuning->seconds;
    task->step_s = tuning->step_s;
    STATUS_TRY(train(&job->machine, task, &result));
    *trained = job_trained_by(&tuning->config, tuning);
    trained->epochs = result.epochs;
    trained->best_epoch = result.best_epoch;
    trained->holdout_accuracy = result.holdout_accuracy;
    trained->samples_per_s = result.samples_per_s;
    return SUCCESS;
}

/* What tune() is given. */
static struct tune_task task_of(const struct job *job, const struct job_training *training) {
    const struct config *c = job->config;
    return (struct tune_task){.train = {.config = &c->training,
                                        .seed = (uint64_t)c->seed,
                                        .data = job->data,
                                        .graph = training->graph,
                                        .params = training->params,
                                        .thaw = training->thaw,
                                        .checkpoint = job->checkpoint,
                                        .checkpoint_key = job->checkpoint_key},
                              .source = training->source,
                              .source_params = training->source_params,
                              .augment = job_tunes_augmentation(c),
                              .head = training->head,
                              .file = job->tuning};
}

status job_tune(struct job *job, const struct job_training *training, struct tuning *tuning) {
    struct tune_task task = task_of(job, training);
    STATUS_TRY(tune(&job->machine, &task, tuning));
    status error =
        tuning->evidence && comm_is_root(job->session->world) ? write_decisions(job, tuning) : SUCCESS;
    error = comm_agree(job->session->world, error);
    if (error) tune_release(tuning);
    return error;
}

status job_train(struct job *job, const struct job_training *training, struct job_trained *trained) {
    struct tuning tuning = {0};
    struct tune_task task = task_of(job, training);
    *trained = (struct job_trained){0};
    if (job->config->training.epochs == 0) return SUCCESS;
    STATUS_TRY(job_tune(job, training, &tuning));
    status error = train_tuned(job, &task.train, &tuning, trained);
    tune_release(&tuning);
    return error;
}

void job_trained_metrics(const struct job_trained *t, struct provenance_metric *metric) {
    const struct provenance_metric all[JOB_TRAINED_METRICS] = {
        {"epochs", (double)t->epochs},
        {"best_epoch", (double)t->best_epoch},
        {"batch", (double)t->config.batch},
        {"learning_rate", t->config.schedule.rate},
        {"distillation", t->config.loss.distillation},
        {"temperature", t->config.loss.temperature},
        {"flip", t->augmentation.flip},
        {"shift", (double)t->augmentation.shift},
        {"tuning_s", t->tuning_s},
    };
    for (int i = 0; i < JOB_TRAINED_METRICS; i++) metric[i] = all[i];
}

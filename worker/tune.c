#include "worker/tune.h"

#include "worker/tuner.h"

#include "shared/interrupt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 128
#define BATCH_MIN 8
#define STEPS_WANTED 28 /* of an epoch of a small set */
#define FASTER 1.5      /* so many times the samples a second make a larger batch worth it */
#define ROUNDS 3
#define LARGER_STEPS_MIN 150 /* of an epoch with a larger batch */
#define TIMED_STEPS 6

bool tune_is_needed(const struct training_config *c, bool augment) {
    return c->batch == 0 || c->schedule.rate == 0 || c->loss.distillation < 0 || c->loss.temperature == 0 ||
           augment;
}

void tune_release(struct tuning *t) {
    teacher_destroy(&t->teacher);
    free(t->holdout_class);
    free(t->evidence);
    *t = (struct tuning){0};
}

/* ---- batch ---- */

static int64_t usual_batch(int64_t samples, int ranks) {
    int64_t batch = BATCH;
    while (batch > BATCH_MIN && samples / batch < STEPS_WANTED) batch /= 2;
    while (batch < ranks) batch *= 2;
    return batch < samples ? batch : samples > 0 ? samples : 1;
}

static status time_batch(struct tuner *t, int64_t batch, double *samples_per_s) {
    double seconds = 0;
    struct training_config config = *t->task.config;
    struct train_task task = t->task;
    config.batch = batch;
    task.config = &config;
    task.teacher = t->teacher;
    STATUS_TRY(trial_step_time(t->machine, &task, TIMED_STEPS, &seconds));
    *samples_per_s = (double)batch / fmax(seconds, 1e-9);
    return SUCCESS;
}

/* A larger batch against the usual one, in turn, since others may use the machine too. */
static status try_larger(struct tuner *t, int64_t usual, int64_t larger, double *gain) {
    double least[2] = {0};
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < 2; k++) {
            double rate = 0;
            STATUS_TRY(time_batch(t, k ? larger : usual, &rate));
            least[k] = fmax(least[k], rate);
        }
    *gain = least[1] / least[0];
    t->tuning->step_s = (double)usual / least[0];
    tuner_tell(t, "batch %lld: %.0f samples/s, %.2f times those of %lld", (long long)larger, least[1], *gain,
               (long long)usual);
    return SUCCESS;
}

static status choose_batch(struct tuner *t) {
    int64_t n = dataset_size(t->task.data, DATASET_TRAIN);
    bool automatic = t->config->batch == 0;
    double rate = 0, gain = 0;
    if (!dataset_classes(t->task.data)) STATUS_TRY(tuner_plain_teacher(t)); /* instead of labels */
    if (automatic) t->config->batch = usual_batch(n, comm_size(t->machine->world));
    int64_t batch = t->config->batch, larger = 2 * batch;
    STATUS_TRY(time_batch(t, batch, &rate));
    t->tuning->step_s = (double)batch / rate;
    if (automatic && n / larger >= LARGER_STEPS_MIN) STATUS_TRY(try_larger(t, batch, larger, &gain));
    /* Every rank goes by the clock of rank 0. */
    STATUS_TRY(comm_bcast(t->machine->world, 0, &gain, sizeof gain));
    STATUS_TRY(comm_bcast(t->machine->world, 0, &t->tuning->step_s, sizeof t->tuning->step_s));
    if (gain >= FASTER) {
        t->config->batch = larger;
        t->tuning->step_s *= 2 / gain;
    }
    if (automatic)
        tuner_tell(t, "training.batch %lld: of %lld training samples, %.0f samples/s",
                   (long long)t->config->batch, (long long)n, (double)t->config->batch / t->tuning->step_s);
    return SUCCESS;
}

/* ---- all of it ---- */

void tune_take_usual(struct training_config *c, int64_t samples, int least) {
    if (c->batch == 0) c->batch = usual_batch(samples, least);
    if (c->schedule.rate == 0) c->schedule.rate = strcmp(c->optimizer.kind, "adamw") ? 2e-2 : 2e-3;
    if (c->loss.distillation < 0) c->loss.distillation = 0.9;
    if (c->loss.temperature == 0) c->loss.temperature = 2;
}

static status decide(struct tuner *t) {
    STATUS_TRY(choose_batch(t));
    STATUS_TRY(tuner_set_lengths(t));
    STATUS_TRY(tuner_try_head(t));
    STATUS_TRY(tuner_choose_rate(t));
    return tuner_choose_augmentation(t);
}

/* The hold-out part's classes by the source, where the data have none. */
static status find_classes(struct tuner *t) {
    int64_t n = dataset_size(t->task.data, DATASET_HOLDOUT);
    if (dataset_classes(t->task.data) || !t->source || !n) return SUCCESS;
    struct teacher *teacher = NULL;
    void *class = NULL;
    status error = memory_alloc("classes", (size_t)n, sizeof(int32_t), &class);
    t->tuning->holdout_class = class;
    if (!error)
        error = teacher_create(t->machine, t->source->source, t->source->source_params, t->task.data,
                               &(struct teacher_options){.batch = 1}, &teacher);
    error = comm_agree(t->machine->world, error);
    if (!error) error = teacher_classes(teacher, t->machine, DATASET_HOLDOUT, t->tuning->holdout_class);
    teacher_destroy(&teacher);
    t->task.holdout_class = t->tuning->holdout_class;
    return error;
}

static bool can_measure(const struct tuner *t) {
    return dataset_size(t->task.data, DATASET_HOLDOUT) > 0 &&
           (dataset_classes(t->task.data) > 0 || t->task.holdout_class);
}

static status tune_all(struct tuner *t) {
    bool found = false;
    STATUS_TRY(find_classes(t));
    if (!t->source) t->config->loss.distillation = 0;
    if (!t->source && t->config->loss.temperature == 0) t->config->loss.temperature = 1;
    if (tune_is_needed(t->config, t->augment)) {
        STATUS_TRY(tuner_read(t, &found));
        if (found) tuner_tell(t, "settings as found before: %s", t->file);
        else if (can_measure(t)) STATUS_TRY(decide(t));
        else tuner_tell(t, "without a hold-out part with labels the usual settings are taken");
        tune_take_usual(t->config, dataset_size(t->task.data, DATASET_TRAIN), comm_size(t->machine->world));
        if (!found) STATUS_TRY(tuner_write(t));
        if (found) STATUS_TRY(tuner_train_head_again(t));
    }
    return tuner_finish(t);
}

status tune(const struct machine *machine, const struct tune_task *task, struct tuning *tuning) {
    double start = comm_time();
    *tuning = (struct tuning){.config = *task->train.config,
                              .augmentation = dataset_augmentation(task->train.data)};
    struct tuner t = {.machine = machine,
                      .task = task->train,
                      .source = task->source ? task : NULL,
                      .head = task->head,
                      .file = task->file,
                      .augment = task->augment && dataset_image_side(task->train.data) > 1,
                      .config = &tuning->config,
                      .tuning = tuning};
    t.task.config = t.config;
    interrupt_catch();
    status error = tune_all(&t);
    interrupt_release();
    teacher_destroy(&t.teacher);
    tuning->seconds = comm_time() - start;
    if (error) tune_release(tuning);
    return error;
}

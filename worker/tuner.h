/* Inside worker/tune*.c: the state of a tuning and its steps. All functions but tuner_tell are collective. */
#ifndef GODWIT_WORKER_TUNER_H
#define GODWIT_WORKER_TUNER_H

#include "worker/trial.h"
#include "worker/tune.h"

struct tuner {
    const struct machine *machine;
    struct train_task task;         /* with `config`; what trials begin from */
    const struct tune_task *source; /* NULL: nothing to distil from */
    const bool *head;
    const char *file;
    bool augment;                   /* is to be found */
    bool head_first;                /* found: the head was trained alone ... */
    double head_rate;               /* ... at this rate */
    int64_t steps;                  /* of a trial in the first rung */
    struct training_config *config; /* tuning->config: found so far */
    struct tuning *tuning;
    struct teacher *teacher; /* without augmentation, kept for all trials; NULL: none */
};

/* An INFO line of the log and of the evidence. */
void tuner_tell(struct tuner *tuner, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How long trials are, and the teacher that they share. */
status tuner_set_lengths(struct tuner *tuner) STATUS_MUST_USE;
/* Makes tuner->teacher, if there is a source and it is not there yet. */
status tuner_plain_teacher(struct tuner *tuner) STATUS_MUST_USE;
/* Trials from the weights with and without the head trained alone before. */
status tuner_try_head(struct tuner *tuner) STATUS_MUST_USE;
/* Trains the head alone once more, if it was found so. */
status tuner_train_head_again(struct tuner *tuner) STATUS_MUST_USE;
/* Learning rate, distillation and temperature. */
status tuner_choose_rate(struct tuner *tuner) STATUS_MUST_USE;
status tuner_choose_augmentation(struct tuner *tuner) STATUS_MUST_USE;
/* The data set's augmentation and the teacher, for training. */
status tuner_finish(struct tuner *tuner) STATUS_MUST_USE;

/* The decisions in tuner->file, if there are any. */
status tuner_read(struct tuner *tuner, bool *found) STATUS_MUST_USE;
status tuner_write(struct tuner *tuner) STATUS_MUST_USE;

#endif

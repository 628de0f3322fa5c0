/* Fine-tuning of the refitted target against the source. */
#include "coordinator/main_fine_tune.h"

#include "coordinator/freeze.h"
#include "worker/train.h"

#include <stdlib.h>

/* The refitted target is kept in the run folder, so that nothing is lost if fine-tuning fails. Collective. */
static status keep_refitted(struct migration_run *m) {
    char *path = NULL;
    status error = SUCCESS;
    if (comm_is_root(m->job.session->world)) {
        if (asprintf(&path, "%s/refit.h5", run_folder_path(m->job.folder)) < 0)
            error = status_no_memory("a path", 0);
        if (!error) error = model_write(path, m->target);
        free(path);
    }
    return comm_agree(m->job.session->world, error);
}

void fine_tune_warn(const struct migration_run *m) {
    bool worse = m->report.target.accuracy < m->report.refit_accuracy;
    if (worse && comm_is_root(m->job.session->world))
        log_line(m->job.session->log, LOG_WARN,
                 "fine-tuning made the target worse; lower training.schedule.rate, or set "
                 "data.holdout so that the best weights are kept (the refitted ones are in %s/refit.h5)",
                 run_folder_path(m->job.folder));
}

static status train_whole(struct migration_run *m) {
    const struct config *c = m->job.config;
    struct teacher *teacher = NULL;
    int64_t *thaw = NULL;
    struct training_config training = c->training;
    if (migration_is_new_task(m)) training.loss.distillation = 0; /* the source knows nothing of it */
    if (!dataset_classes(m->job.data) && training.loss.distillation > 0)
        log_line(m->job.session->log, LOG_INFO,
                 "the data has no labels: the source's classes take their place");
    bool augment = c->data.flip || c->data.shift > 0, distil = training.loss.distillation > 0;
    int ranks = comm_size(m->job.session->world);
    int64_t batch = (c->training.batch + ranks - 1) / ranks;
    if (distil)
        STATUS_TRY(teacher_create(&m->job.machine, m->source_logits, m->source->params, m->job.data, !augment,
                                  batch, &teacher));
    status error = comm_agree(m->job.session->world, freeze_parse(&training, m->target->graph, &thaw));
    struct train_task task = {.config = &training,
                              .seed = (uint64_t)c->seed,
                              .data = m->job.data,
                              .augment = augment,
                              .graph = m->target_logits,
                              .params = m->target->params,
                              .thaw = thaw,
                              .teacher = teacher,
                              .checkpoint = m->job.checkpoint,
                              .checkpoint_key = m->job.checkpoint_key};
    struct train_result result;
    if (!error) error = train(&m->job.machine, &task, &result);
    free(thaw);
    teacher_destroy(&teacher);
    return error;
}

status fine_tune(struct migration_run *m) {
    STATUS_TRY(keep_refitted(m));
    return train_whole(m);
}

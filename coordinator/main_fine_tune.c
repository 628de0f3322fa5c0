/* Fine-tuning of the refitted target against the source. */
#include "coordinator/main_fine_tune.h"

#include "coordinator/freeze.h"
#include "coordinator/main_slices.h"
#include "worker/slice_train.h"
#include "worker/train.h"

#include <stdlib.h>
#include <string.h>

/* What all ways to train take. */
struct fine_tuning {
    struct training_config config;
    int64_t *thaw; /* owned */
    bool augment, distil;
};

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

/* ---- the whole target on each rank ---- */

static status train_whole(struct migration_run *m, const struct fine_tuning *f) {
    struct teacher *teacher = NULL;
    int ranks = comm_size(m->job.session->world);
    int64_t batch = (f->config.batch + ranks - 1) / ranks;
    if (f->distil)
        STATUS_TRY(teacher_create(&m->job.machine, m->source_logits, m->source->params, m->job.data,
                                  !f->augment, batch, &teacher));
    struct train_task task = {.config = &f->config,
                              .seed = (uint64_t)m->job.config->seed,
                              .data = m->job.data,
                              .augment = f->augment,
                              .graph = m->target_logits,
                              .params = m->target->params,
                              .thaw = f->thaw,
                              .teacher = teacher,
                              .checkpoint = m->job.checkpoint,
                              .checkpoint_key = m->job.checkpoint_key};
    struct train_result result;
    status error = train(&m->job.machine, &task, &result);
    teacher_destroy(&teacher);
    return error;
}

/* ---- in slices ---- */

static status train_slices(struct migration_run *m, const struct fine_tuning *f, bool joint, int64_t epochs,
                           const char *checkpoint) {
    struct slicing *slicing = NULL;
    STATUS_TRY(comm_agree(m->job.session->world, slices_find(m, &slicing)));
    struct slice_models models = {m->source->params, m->target->params};
    struct slice_task task = {.config = &f->config,
                              .joint = joint,
                              .epochs = epochs,
                              .seed = (uint64_t)m->job.config->seed,
                              .data = m->job.data,
                              .augment = f->augment,
                              .slicing = slicing,
                              .load = slice_load,
                              .context = &models,
                              .params = m->target->params,
                              .thaw = f->thaw,
                              .checkpoint = checkpoint,
                              .checkpoint_key = m->job.checkpoint_key};
    struct slice_train_result result;
    status error = slice_train(&m->job.machine, &task, &result);
    slicing_destroy(&slicing);
    return error;
}

/* ---- all of it ---- */

static status prepare(struct migration_run *m, struct fine_tuning *f) {
    const struct config *c = m->job.config;
    f->config = c->training;
    if (migration_is_new_task(m)) f->config.loss.distillation = 0; /* the source knows nothing of it */
    f->augment = c->data.flip || c->data.shift > 0;
    f->distil = f->config.loss.distillation > 0;
    if (!dataset_classes(m->job.data) && f->distil)
        log_line(m->job.session->log, LOG_INFO,
                 "the data has no labels: the source's classes take their place");
    return comm_agree(m->job.session->world, freeze_parse(&f->config, m->target->graph, &f->thaw));
}

status fine_tune(struct migration_run *m) {
    const struct training_config *c = &m->job.config->training;
    struct fine_tuning f = {0};
    STATUS_TRY(keep_refitted(m));
    status error = prepare(m, &f);
    if (!error && c->blockwise_epochs > 0)
        error = train_slices(m, &f, false, c->blockwise_epochs, m->job.blockwise_checkpoint);
    if (!error && c->epochs > 0) {
        if (!strcmp(c->way, "data_parallel")) error = train_whole(m, &f);
        else error = train_slices(m, &f, !strcmp(c->way, "joint"), c->epochs, m->job.checkpoint);
    }
    free(f.thaw);
    return error;
}

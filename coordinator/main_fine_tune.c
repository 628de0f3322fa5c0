/* Fine-tuning of the refitted target against the source. */
#include "coordinator/main_fine_tune.h"

#include "coordinator/freeze.h"
#include "coordinator/main_slices.h"
#include "coordinator/main_training.h"

#include <stdlib.h>
#include <string.h>

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

/* The weights of the last layer that has some: a new task's head. Owned. */
static status find_head(const struct model *model, bool **head) {
    int last = -1;
    *head = calloc((size_t)model->ops->nparams + 1, sizeof **head);
    if (!*head) return status_no_memory("a list of weights", (size_t)model->ops->nparams);
    for (int l = 0; l < model->graph->nlayers; l++)
        if (model->graph->layer[l].nweights > 0) last = l;
    if (last < 0) return SUCCESS;
    int first = graph_first_param(model->graph, last);
    for (int w = 0; w < model->graph->layer[last].nweights; w++) (*head)[first + w] = true;
    return SUCCESS;
}

/* Blockwise first, if it is wanted; then all of the target together, on each rank or in slices. */
static status train_ways(struct migration_run *m, const struct job_training *training) {
    const struct training_config *c = &m->job.config->training;
    struct slices_training slices = {.job = training,
                                     .blockwise = true,
                                     .epochs = c->blockwise_epochs,
                                     .checkpoint = m->job.blockwise_checkpoint};
    bool joint = !strcmp(c->way, "joint"), blockwise = !strcmp(c->way, "blockwise");
    if (c->blockwise_epochs > 0) STATUS_TRY(slices_train(m, &slices));
    if (c->epochs == 0) return SUCCESS;
    if (!strcmp(c->way, "auto")) STATUS_TRY(slices_are_faster(m, training, &joint));
    slices = (struct slices_training){
        .job = training, .blockwise = blockwise, .epochs = c->epochs, .checkpoint = m->job.checkpoint};
    return joint || blockwise ? slices_train(m, &slices) : job_train(&m->job, training, &m->trained);
}

static status train_target(struct migration_run *m) {
    const struct config *c = m->job.config;
    const struct comm *world = m->job.session->world;
    bool distils = !migration_is_new_task(m) && c->training.loss.distillation != 0, *head = NULL;
    int64_t *thaw = NULL;
    if (!dataset_classes(m->job.data) && distils)
        log_line(m->job.session->log, LOG_INFO,
                 "the data has no labels: the source's classes take their place");
    status error = freeze_parse(&c->training, m->target->graph, &thaw);
    /* A target before this one may have left another augmentation. */
    if (!error) error = dataset_augment(m->job.data, &(struct augmentation){c->data.flip, c->data.shift});
    if (!error && migration_is_new_task(m)) error = find_head(m->target, &head);
    struct job_training training = {.graph = m->target_logits,
                                    .params = m->target->params,
                                    .thaw = thaw,
                                    .source = distils ? m->source_logits : NULL,
                                    .source_params = m->source->params,
                                    .head = head};
    error = comm_agree(world, error);
    if (!error) error = train_ways(m, &training);
    free(thaw);
    free(head);
    return error;
}

status fine_tune(struct migration_run *m) {
    STATUS_TRY(keep_refitted(m));
    return train_target(m);
}

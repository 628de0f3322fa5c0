/* What training in slices is given; see worker/slice_train.h. */
#ifndef GODWIT_WORKER_SLICE_TASK_H
#define GODWIT_WORKER_SLICE_TASK_H

#include "io/config.h"
#include "io/dataset.h"
#include "worker/slicing.h"

struct slice_task {
    const struct training_config *config;
    bool joint; /* else blockwise */
    int64_t epochs;
    uint64_t seed;
    struct dataset *data;
    bool augment; /* as the data set's configuration says */
    const struct slicing *slicing;
    /* Fills in parameters that this rank's slices use, of the source or of the target as it starts; `part`
     * has no others. Not collective. */
    status (*load)(void *context, bool source, struct params *part);
    void *context;
    struct params *params; /* the target's trained values go here; NULL on ranks that do not want them */
    bool test;             /* say how the test part does before and after */
    const int64_t *thaw;   /* as struct train_task has it */
    const char *checkpoint, *checkpoint_key; /* likewise */
};

/* Do the outputs learn from the source's logits? */
static inline bool slice_distils(const struct slice_task *task) {
    const struct slicing *s = task->slicing;
    return s->boundary[s->nslices].source >= 0 && task->config->loss.distillation > 0;
}

/* For `load`, where the whole models are in memory: the context. */
struct slice_models {
    const struct params *source, *target;
};
static inline status slice_load(void *context, bool source, struct params *part) {
    const struct slice_models *models = context;
    params_copy(source ? models->source : models->target, part);
    return SUCCESS;
}

#endif

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
    const struct params *source;             /* the source's parameters */
    struct params *params;                   /* the target's: start values in, trained values out */
    const int64_t *thaw;                     /* as struct train_task has it */
    const char *checkpoint, *checkpoint_key; /* likewise */
};

#endif

/* A run of training in slices, as all ranks have it. Internal to worker/slice_*.c. */
#ifndef GODWIT_WORKER_SLICE_RUN_H
#define GODWIT_WORKER_SLICE_RUN_H

#include "worker/evaluate.h"
#include "worker/slice_cost.h"
#include "worker/slice_train.h"
#include "worker/slice_way.h"

struct slice_run {
    const struct machine *machine;
    const struct slice_task *task;
    const struct slice_way *way;
    struct slice_train_result *result;
    int wanted;  /* so many stages; 0: any */
    bool fixed;  /* the configuration says which */
    bool cached; /* the source's activations are kept */
    struct slice_cost cost;
    struct stages *stages;
    struct stage stage;
    struct boundary_cache *cache;
    void *self;                     /* of the way */
    struct params *best;            /* of this rank's slices: to be returned */
    int64_t *order;                 /* [training samples] of this epoch */
    int64_t epoch, step;            /* next to do */
    struct slice_progress progress; /* of this epoch, summed over the ranks */
    char *key;                      /* of the checkpoint */
};

/* Opens the stage, fills the cache, opens the way. Collective. */
status slice_run_open(struct slice_run *run) STATUS_MUST_USE;
void slice_run_close(struct slice_run *run); /* collective; what slice_run_open() made */

/* Shares the slices out anew, carrying along what has been learned, if the last epoch's times ask for it:
 * this rank has computed for `computed` seconds in it. Collective. */
status slice_run_rebalance(struct slice_run *run, double computed) STATUS_MUST_USE;

/* ---- worker/slice_checkpoint.c; collective ---- */
/* Which run a checkpoint belongs to: by what the open stages start from. */
status slice_checkpoint_key(struct slice_run *run) STATUS_MUST_USE;
status slice_checkpoint_save(struct slice_run *run) STATUS_MUST_USE;
status slice_checkpoint_resume(struct slice_run *run, bool *found) STATUS_MUST_USE;

/* A state of the optimizer as parameters, to be moved: `count` [n] is room for its counts. */
struct params slice_moments(const struct stage *stage, float *moment, int64_t *count);

#endif

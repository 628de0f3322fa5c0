/* Stage: what a rank has of the slices that it fine-tunes with the other ranks of its stage: their parameters
 * in source and target, gradients, the optimizer's state. What a stage computes is in worker/blockwise.c and
 * worker/joint.c. */
#ifndef GODWIT_WORKER_STAGE_H
#define GODWIT_WORKER_STAGE_H

#include "shared/stages.h"
#include "worker/loss.h"
#include "worker/machine.h"
#include "worker/optimizer.h"
#include "worker/slice_task.h"
#include "worker/weight_average.h"

struct stage {
    const struct machine *machine;
    const struct slice_task *task;
    const struct stages *stages;
    int index;             /* of this rank's stage */
    int first, end;        /* its slices */
    int replica, replicas; /* this rank among those of the stage */
    struct comm *group;    /* these */
    int64_t micro, micro_batches, steps_per_epoch;
    struct params *source; /* the source's parameters that its slices use */
    struct params *params; /* the target's */
    struct params *grads;  /* of one micro-batch */
    struct params *sum;    /* of all so far in this batch */
    struct optimizer *optimizer;
    struct weight_average *average; /* NULL: off */
    struct opgraph *graph;          /* of the target's slices */
    int *slice_of;                  /* [target's parameters] the slice that uses it; -1: none of these */
    bool *trained;                  /* [target's parameters] in this epoch */
    enum dataset_part part;         /* whose samples take turns */
    const int64_t *order;           /* of these; borrowed */
    int64_t epoch;
    double computed; /* seconds of computing */
    double worked;   /* of them those that this process had a core: what other processes do takes none */
};

/* Of the rank's place in `stages`; parameters are taken from the task, the optimizer's state is zero.
 * Collective. After an error stage_close must still be called. */
status stage_open(struct stage *stage, const struct machine *machine, const struct slice_task *task,
                  const struct stages *stages) STATUS_MUST_USE;
void stage_close(struct stage *stage); /* collective */

static inline bool stage_is_first(const struct stage *stage) {
    return stage->index == 0;
}
static inline bool stage_is_last(const struct stage *stage) {
    return stage->index == stage->stages->nstages - 1;
}

/* Micro-batches of a batch that take turns at this rank. */
struct turn {
    int64_t step, m;
};
/* The rank's first turn from a step on; the one after. `end` itself is no turn: turn->step is `end` then. */
struct turn stage_first_turn(const struct stage *stage, int64_t step, int64_t end);
void stage_next_turn(const struct stage *stage, int64_t end, struct turn *turn);
/* The turn's samples, [micro]. */
const int64_t *stage_samples(const struct stage *stage, const struct turn *turn);
/* Inputs (micro, sample), as augmented in training, labels (micro), each NULL if not wanted. Not collective.
 */
status stage_read(const struct stage *stage, const struct turn *turn, float *x,
                  int32_t *label) STATUS_MUST_USE;

/* Samples and parameters of this epoch's training. */
void stage_begin_epoch(struct stage *stage, int64_t epoch, const int64_t *order);

/* When a span of computing begins, by the clock and by the process's own. */
struct span {
    double at, worked;
};
struct span span_begin(void);
/* It ends: for the trace, stage->computed and stage->worked. `name` is a literal; slice -1: all of the
 * stage's.
 */
void stage_computed(struct stage *stage, const char *name, int slice, const struct turn *turn,
                    struct span span);

/* Adds the gradients of a slice, -1: of all, to the sum. */
void stage_accumulate(struct stage *stage, int slice);
/* Ends a step of the epoch: sums over the ranks of the stage, and takes the optimizer's step, unless
 * `failed`. With a limit on the gradient's norm that is of all stages together in joint training, of each
 * slice else. Collective over the stage, in joint training over the world. */
status stage_update(struct stage *stage, int64_t step, bool failed) STATUS_MUST_USE;

/* Bytes of parameters and state. */
double stage_bytes(const struct stage *stage);

#endif

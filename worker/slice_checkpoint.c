/* Checkpoints of training in slices: rank 0 gathers all of the target's state, and writes it. */
#include "worker/slice_run.h"
#include "worker/slice_state.h"

#include "io/checkpoint.h"
#include "io/digest.h"

#include <stdio.h>
#include <stdlib.h>

enum { WEIGHTS, BEST, FIRST, SECOND, AVERAGE, NSTATES };

static const char *const state_name[NSTATES] = {"weights", "best_weights", "first_moment", "second_moment",
                                                "average"};

/* The states of this rank's slices; those that the run has. */
struct states {
    int64_t *count[NSTATES]; /* of moments; else NULL */
    struct params moment[NSTATES];
    struct params *part[NSTATES];  /* NULL: the run has none */
    struct params *whole[NSTATES]; /* of rank 0 */
};

static void states_free(struct states *s) {
    for (int i = 0; i < NSTATES; i++) {
        free(s->count[i]);
        params_destroy(&s->whole[i]);
    }
}

static status states_make(const struct slice_run *r, struct states *s) {
    const struct stage *stage = &r->stage;
    s->part[WEIGHTS] = stage->params;
    s->part[BEST] = r->best;
    if (stage->average) s->part[AVERAGE] = weight_average_params(stage->average);
    float *moment[] = {optimizer_first(stage->optimizer), optimizer_second(stage->optimizer)};
    for (int i = 0; i < 2; i++) {
        int at = FIRST + i;
        if (!moment[i]) continue;
        STATUS_TRY(memory_alloc("slices", (size_t)stage->params->n, sizeof(int64_t), (void **)&s->count[at]));
        s->moment[at] = slice_moments(stage, moment[i], s->count[at]);
        s->part[at] = &s->moment[at];
    }
    for (int i = 0; i < NSTATES; i++)
        if (s->part[i] && comm_is_root(r->machine->world))
            STATUS_TRY(params_create(r->task->slicing->target, &s->whole[i]));
    return SUCCESS;
}

static void describe(struct slice_run *r, const struct states *s, struct checkpoint *c) {
    *c = (struct checkpoint){.key = r->key};
    checkpoint_add_integer(c, "epoch", &r->epoch);
    checkpoint_add_integer(c, "step", &r->step);
    checkpoint_add_real(c, "loss", &r->progress.loss.loss);
    checkpoint_add_integer(c, "correct", &r->progress.loss.correct);
    checkpoint_add_real(c, "boundary_error", &r->progress.boundary_error);
    checkpoint_add_integer(c, "boundaries", &r->progress.boundaries);
    checkpoint_add_integer(c, "best_epoch", &r->result->best_epoch);
    checkpoint_add_real(c, "train_loss", &r->result->train_loss);
    checkpoint_add_real(c, "holdout_accuracy", &r->result->holdout_accuracy);
    checkpoint_add_integer(c, "optimizer_step", optimizer_steps(r->stage.optimizer));
    if (r->stage.average) checkpoint_add_integer(c, "averaged_steps", weight_average_steps(r->stage.average));
    for (int i = 0; i < NSTATES; i++)
        if (s->whole[i])
            checkpoint_add_array(c, state_name[i], s->whole[i]->data, (size_t)s->whole[i]->total);
}

/* What each rank starts from, joined. Ranks of a stage have the same, but stages may differ from run to run:
 * the weights of each slice are told apart by sums that do not depend on who has them. */
static status digest_start(const struct slice_run *r, char **digest) {
    const struct stage *s = &r->stage;
    int n = s->params->n;
    int64_t *sum = NULL;
    STATUS_TRY(comm_agree(r->machine->world, memory_alloc("slices", (size_t)n, sizeof *sum, (void **)&sum)));
    for (int i = 0; i < n; i++) {
        const uint32_t *bits = (const uint32_t *)(const void *)params_at(s->params, i);
        for (int64_t j = 0; j < s->params->count[i] && s->replica == 0; j++)
            sum[i] = (int64_t)((uint64_t)sum[i] * 6364136223846793005u + bits[j] + 1442695040888963407u);
    }
    status error = comm_sum_i64(r->machine->world, sum, (size_t)n);
    if (!error) error = comm_agree(r->machine->world, bytes_digest(sum, (size_t)n * sizeof *sum, digest));
    free(sum);
    return error;
}

status slice_checkpoint_key(struct slice_run *r) {
    const struct slice_task *task = r->task;
    char *start = NULL;
    if (!task->checkpoint) return SUCCESS;
    STATUS_TRY(digest_start(r, &start));
    int made = asprintf(&r->key, "%s %s %s", task->checkpoint_key, r->way->name, start);
    free(start);
    return comm_agree(r->machine->world, made < 0 ? status_no_memory("a checkpoint", 0) : SUCCESS);
}

status slice_checkpoint_save(struct slice_run *r) {
    const struct comm *world = r->machine->world;
    struct states s = {0};
    struct checkpoint c;
    if (!r->task->checkpoint) return SUCCESS;
    status error = comm_agree(world, states_make(r, &s));
    for (int i = 0; i < NSTATES && !error; i++)
        if (s.part[i])
            error = slice_state_move(world, r->task->slicing, false, r->stages, s.part[i], s.whole[i]);
    if (!error) {
        describe(r, &s, &c);
        error = comm_agree(world, comm_is_root(world) ? checkpoint_write(r->task->checkpoint, &c) : SUCCESS);
    }
    states_free(&s);
    return error;
}

static status spread(struct slice_run *r, const struct states *s, const struct checkpoint *c) {
    const struct comm *world = r->machine->world;
    for (int i = 0; i < c->nnumbers; i++)
        STATUS_TRY(comm_bcast(
            world, 0, c->number[i].integer ? (void *)c->number[i].integer : (void *)c->number[i].real, 8));
    for (int i = 0; i < NSTATES; i++)
        if (s->part[i]) STATUS_TRY(slice_state_spread(world, s->whole[i], s->part[i]));
    return SUCCESS;
}

status slice_checkpoint_resume(struct slice_run *r, bool *found) {
    const struct comm *world = r->machine->world;
    struct states s = {0};
    struct checkpoint c;
    *found = false;
    if (!r->task->checkpoint) return SUCCESS;
    status error = comm_agree(world, states_make(r, &s));
    if (!error) {
        describe(r, &s, &c);
        error = comm_agree(world,
                           comm_is_root(world) ? checkpoint_read(r->task->checkpoint, &c, found) : SUCCESS);
    }
    if (!error) error = comm_any(world, *found, found);
    if (!error && *found) error = spread(r, &s, &c);
    if (!error && *found)
        log_line(r->machine->log, LOG_INFO, "resumed from %s at epoch %lld, step %lld", r->task->checkpoint,
                 (long long)r->epoch + 1, (long long)r->step + 1);
    states_free(&s);
    return error;
}

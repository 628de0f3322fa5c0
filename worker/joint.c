#include "worker/slice_way.h"
#include "worker/source_part.h"

#include <stdlib.h>

/* A micro-batch between its forward and its backward. */
struct flight {
    struct exec *exec;
    float *x; /* (micro, sample) inputs of the first stage */
    struct turn turn;
};

struct joint {
    struct stage *stage;
    const struct boundary_cache *cache;
    struct source_part *source; /* NULL: nothing is distilled, or from the cache */
    int nflights;
    struct flight *flight; /* [nflights] a ring */
    int64_t forwards, backwards;
    float *teacher; /* (micro, classes) logits from the cache */
    float *grad;    /* (micro, classes) of the last stage */
    int32_t *label;
    struct stage_link in, out, grad_in, grad_out;
    struct slice_progress *progress;
};

static void joint_close(void **self) {
    struct joint *j = *self;
    if (!j) return;
    for (int i = 0; j->flight && i < j->nflights; i++) {
        exec_destroy(&j->flight[i].exec);
        free(j->flight[i].x);
    }
    free(j->flight);
    source_part_close(&j->source);
    link_close(&j->in);
    link_close(&j->out);
    link_close(&j->grad_in);
    link_close(&j->grad_out);
    free(j->teacher);
    free(j->grad);
    free(j->label);
    free(j);
    *self = NULL;
}

/* Forwards before the first backward: until one has been through all later stages. */
static int warm_up(const struct stage *s) {
    int later = s->stages->nranks - s->stages->first_rank[s->index + 1];
    int turns = (later + s->replicas - 1) / s->replicas;
    int64_t mine = (s->micro_batches - s->replica + s->replicas - 1) / s->replicas;
    return turns < mine ? turns : mine > 0 ? (int)mine - 1 : 0;
}

static status open_flight(struct joint *j, struct flight *flight) {
    struct stage *s = j->stage;
    struct exec_options options = {.batch = s->micro,
                                   .mode = EXEC_TRAIN,
                                   .threads = s->machine->threads,
                                   .batch_norm = BATCH_NORM_FROZEN,
                                   .seed = s->task->seed,
                                   .input_grads = !stage_is_first(s)};
    STATUS_TRY(s->machine->engine->compile(s->graph, &options, &flight->exec));
    STATUS_TRY(exec_set_params(flight->exec, s->params));
    if (!stage_is_first(s)) return SUCCESS;
    return memory_alloc("a batch", (size_t)(s->micro * slicing_target_floats(s->task->slicing, 0)),
                        sizeof *flight->x, (void **)&flight->x);
}

static status open_links(struct joint *j) {
    struct stage *s = j->stage;
    int64_t begin = slicing_target_floats(s->task->slicing, s->first),
            end = slicing_target_floats(s->task->slicing, s->end);
    int depth = j->nflights + 1;
    if (!stage_is_first(s)) {
        STATUS_TRY(link_open(&j->in, s, LINK_TARGET, s->index - 1, true, begin, depth));
        STATUS_TRY(link_open(&j->grad_out, s, LINK_GRADIENT, s->index - 1, false, begin, depth));
    }
    if (stage_is_last(s)) return SUCCESS;
    STATUS_TRY(link_open(&j->out, s, LINK_TARGET, s->index + 1, false, end, depth));
    return link_open(&j->grad_in, s, LINK_GRADIENT, s->index + 1, true, end, depth);
}

static status open_all(struct joint *j) {
    struct stage *s = j->stage;
    const struct slicing *slicing = s->task->slicing;
    j->nflights = warm_up(s) + 1;
    STATUS_TRY(memory_alloc("slices", (size_t)j->nflights, sizeof *j->flight, (void **)&j->flight));
    for (int i = 0; i < j->nflights; i++) STATUS_TRY(open_flight(j, &j->flight[i]));
    STATUS_TRY(open_links(j));
    if (slice_distils(s->task) && !j->cache) STATUS_TRY(source_part_open(s, false, &j->source));
    if (!stage_is_last(s)) return SUCCESS;
    size_t outputs = (size_t)(s->micro * slicing_target_floats(slicing, slicing->nslices));
    if (slice_distils(s->task) && j->cache)
        STATUS_TRY(memory_alloc("logits", outputs, sizeof *j->teacher, (void **)&j->teacher));
    STATUS_TRY(memory_alloc("gradients", outputs, sizeof *j->grad, (void **)&j->grad));
    return memory_alloc("labels", (size_t)s->micro, sizeof *j->label, (void **)&j->label);
}

static status joint_open(struct stage *stage, const struct boundary_cache *cache, void **self) {
    struct joint *j = calloc(1, sizeof *j);
    if (!j) return status_no_memory("slices", sizeof *j);
    j->stage = stage;
    j->cache = cache;
    *self = j;
    return open_all(j);
}

/* ---- one micro-batch ---- */

/* Loss and its gradient by the outputs, of the last stage. */
static void compare(struct joint *j, const struct flight *f) {
    const struct stage *s = j->stage;
    const struct training_config *config = s->task->config;
    const struct slicing *slicing = s->task->slicing;
    const float *teacher = j->teacher;
    if (j->teacher)
        boundary_cache_get(j->cache, slicing->nslices, s->micro, stage_samples(s, &f->turn), j->teacher);
    else if (j->source) teacher = source_part_at(j->source, slicing->nslices);
    const int32_t *label = dataset_classes(s->task->data) || !teacher ? j->label : NULL;
    loss_add(&config->loss, s->micro, slicing_target_floats(slicing, slicing->nslices),
             exec_output(f->exec, 0), teacher, label, config->batch, j->grad, &j->progress->loss);
}

static status forward(struct joint *j, const struct turn *turn, bool failed) {
    struct stage *s = j->stage;
    struct flight *f = &j->flight[j->forwards++ % j->nflights];
    const float *input = f->x;
    status error = SUCCESS;
    f->turn = *turn;
    if (!failed && (f->x || j->label))
        error = stage_read(s, turn, f->x, dataset_classes(s->task->data) ? j->label : NULL);
    if (j->source) error = status_first(error, source_part_turn(j->source, turn, f->x, failed || error));
    if (j->in.relay) error = status_first(error, link_take(&j->in, &input));
    struct span begin = span_begin();
    if (!error && !failed) {
        exec_set_step(f->exec, (uint64_t)(s->epoch * s->steps_per_epoch + turn->step),
                      (uint64_t)(turn->m * s->micro));
        error = exec_forward(f->exec, &input);
        if (!error && j->grad) compare(j, f);
    }
    stage_computed(s, "forward", -1, turn, begin);
    if (j->out.relay)
        error =
            status_first(error, link_give(&j->out, turn, error || failed ? NULL : exec_output(f->exec, 0)));
    if (j->source) error = status_first(error, source_part_end(j->source));
    return error;
}

static status backward(struct joint *j, bool failed) {
    struct stage *s = j->stage;
    struct flight *f = &j->flight[j->backwards++ % j->nflights];
    const float *grad = j->grad;
    status error = SUCCESS;
    if (j->grad_in.relay) error = link_take(&j->grad_in, &grad);
    struct span begin = span_begin();
    if (!error && !failed) {
        error = exec_backward(f->exec, &grad, s->grads);
        if (!error) stage_accumulate(s, -1);
    }
    stage_computed(s, "backward", -1, &f->turn, begin);
    if (j->grad_in.relay) error = status_first(error, link_release(&j->grad_in));
    if (j->grad_out.relay)
        error = status_first(
            error, link_give(&j->grad_out, &f->turn, error || failed ? NULL : exec_input_grad(f->exec, 0)));
    if (j->in.relay) error = status_first(error, link_release(&j->in));
    return error;
}

/* All turns of a step: some forwards, then one backward after each, then the backwards that are left. */
static status run_step(struct joint *j, int64_t step, bool failed) {
    struct stage *s = j->stage;
    status error = SUCCESS;
    struct turn turn = stage_first_turn(s, step, step + 1);
    for (; turn.step == step; stage_next_turn(s, step + 1, &turn)) {
        error = status_first(error, forward(j, &turn, failed || error));
        if (j->forwards - j->backwards == j->nflights)
            error = status_first(error, backward(j, failed || error));
    }
    while (j->backwards < j->forwards) error = status_first(error, backward(j, failed || error));
    return status_first(error, stage_update(s, step, failed || error));
}

static status joint_run(void *self, int64_t first, int64_t end, struct slice_progress *progress) {
    struct joint *j = self;
    j->progress = progress;
    status error = j->source ? source_part_begin(j->source, first, end) : SUCCESS;
    error = status_first(error, link_begin(&j->in, first, end));
    error = status_first(error, link_begin(&j->grad_in, first, end));
    for (int64_t step = first; step < end; step++)
        error = status_first(error, run_step(j, step, error != SUCCESS));
    if (j->source) error = status_first(error, source_part_flush(j->source));
    error = status_first(error, link_flush(&j->out));
    error = status_first(error, link_flush(&j->grad_out));
    return error;
}

static size_t joint_memory(const void *self) {
    const struct joint *j = self;
    size_t bytes = j->source ? source_part_memory(j->source) : 0;
    for (int i = 0; i < j->nflights; i++) bytes += exec_memory(j->flight[i].exec);
    return bytes;
}

const struct slice_way slice_way_joint = {.name = "joint",
                                          .flushed = true,
                                          .open = joint_open,
                                          .run = joint_run,
                                          .memory = joint_memory,
                                          .close = joint_close};

#include "worker/slice_way.h"
#include "worker/source_part.h"

#include "shared/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 4 /* messages under way to a stage */

/* One slice of the target. */
struct block {
    struct opgraph *graph;
    struct exec *exec;
    float *mapped; /* (micro, floats) the source's activations at its end, at the target's channels */
    float *grad;   /* (micro, floats) of its outputs */
};

struct blockwise {
    struct stage *stage;
    const struct boundary_cache *cache;
    struct source_part *source; /* NULL with a cache */
    struct block *block;        /* [slices of the stage] */
    float *x;                   /* (micro, sample) of the first stage */
    float *begin;               /* (micro, floats) the source's activations where the stage begins */
    float *input;               /* (micro, floats) of the widest boundary: those of both kinds */
    int32_t *label;             /* (micro) of the last stage */
    struct stage_link in, out;  /* the target's own activations */
    struct slice_progress *progress;
};

double slice_own_share(double progressive, int slice, int nslices, int64_t step, int64_t steps) {
    if (slice == 0 || !(progressive > 0)) return 0;
    double way = (double)step / (progressive * (double)steps) * (nslices - 1) - (slice - 1);
    return fmin(1, fmax(0, way));
}

static void blockwise_close(void **self) {
    struct blockwise *b = *self;
    if (!b) return;
    for (int i = 0; b->block && i < b->stage->end - b->stage->first; i++) {
        exec_destroy(&b->block[i].exec);
        opgraph_destroy(&b->block[i].graph);
        free(b->block[i].mapped);
        free(b->block[i].grad);
    }
    free(b->block);
    source_part_close(&b->source);
    link_close(&b->in);
    link_close(&b->out);
    free(b->x);
    free(b->begin);
    free(b->input);
    free(b->label);
    free(b);
    *self = NULL;
}

static status floats_for(const struct stage *s, int boundary, float **x) {
    size_t n = (size_t)(s->micro * slicing_target_floats(s->task->slicing, boundary));
    return memory_alloc("activations (lower training.batch)", n, sizeof **x, (void **)x);
}

static status open_block(const struct blockwise *b, int slice) {
    struct stage *s = b->stage;
    struct block *block = &b->block[slice - s->first];
    STATUS_TRY(slicing_cut_target(s->task->slicing, slice, slice + 1, &block->graph));
    struct exec_options options = {.batch = s->micro,
                                   .mode = EXEC_TRAIN,
                                   .threads = s->machine->threads,
                                   .batch_norm = BATCH_NORM_FROZEN,
                                   .seed = s->task->seed};
    STATUS_TRY(s->machine->engine->compile(block->graph, &options, &block->exec));
    STATUS_TRY(exec_set_params(block->exec, s->params));
    STATUS_TRY(floats_for(s, slice + 1, &block->mapped));
    return floats_for(s, slice + 1, &block->grad);
}

static status open_all(struct blockwise *b) {
    struct stage *s = b->stage;
    const struct slicing *slicing = s->task->slicing;
    bool progressive = s->task->config->slices.progressive > 0;
    int widest = s->first;
    STATUS_TRY(memory_alloc("slices", (size_t)(s->end - s->first), sizeof *b->block, (void **)&b->block));
    for (int i = s->first; i < s->end; i++) {
        STATUS_TRY(open_block(b, i));
        if (slicing_target_floats(slicing, i) > slicing_target_floats(slicing, widest)) widest = i;
    }
    if (!b->cache) STATUS_TRY(source_part_open(s, true, &b->source));
    if (stage_is_first(s)) STATUS_TRY(floats_for(s, 0, &b->x));
    STATUS_TRY(floats_for(s, s->first, &b->begin));
    STATUS_TRY(floats_for(s, widest, &b->input));
    if (stage_is_last(s))
        STATUS_TRY(memory_alloc("labels", (size_t)s->micro, sizeof *b->label, (void **)&b->label));
    if (progressive && !stage_is_first(s))
        STATUS_TRY(link_open(&b->in, s, LINK_TARGET, s->index - 1, true,
                             slicing_target_floats(slicing, s->first), DEPTH));
    if (progressive && !stage_is_last(s))
        STATUS_TRY(link_open(&b->out, s, LINK_TARGET, s->index + 1, false,
                             slicing_target_floats(slicing, s->end), DEPTH));
    return SUCCESS;
}

static status blockwise_open(struct stage *stage, const struct boundary_cache *cache, void **self) {
    struct blockwise *b = calloc(1, sizeof *b);
    if (!b) return status_no_memory("slices", sizeof *b);
    b->stage = stage;
    b->cache = cache;
    *self = b;
    return open_all(b);
}

/* ---- one micro-batch ---- */

/* What the source gives at a boundary of the stage, at the target's channels. */
static void fetch(const struct blockwise *b, const struct turn *turn, int boundary, float *to) {
    const struct stage *s = b->stage;
    if (boundary == 0) return; /* both take the same inputs */
    if (b->cache) boundary_cache_get(b->cache, boundary, s->micro, stage_samples(s, turn), to);
    else slicing_map(s->task->slicing, boundary, s->micro, source_part_at(b->source, boundary), to);
}

/* A slice's inputs: for a share of the samples the target's own. */
static const float *mix(const struct blockwise *b, const struct turn *turn, int slice, const float *source,
                        const float *own) {
    const struct stage *s = b->stage;
    int64_t steps = s->steps_per_epoch * s->task->epochs, step = s->epoch * s->steps_per_epoch + turn->step,
            floats = slicing_target_floats(s->task->slicing, slice), first = turn->m * s->micro;
    double share =
        slice_own_share(s->task->config->slices.progressive, slice, s->task->slicing->nslices, step, steps);
    if (share <= 0) return source;
    if (share >= 1) return own;
    for (int64_t i = 0; i < s->micro; i++) {
        struct rng rng = rng_make(s->task->seed + (uint64_t)slice, RNG_REPLACE,
                                  (uint64_t)(step * s->task->config->batch + first + i));
        const float *from = rng_uniform(&rng) < share ? own : source;
        memcpy(b->input + i * floats, from + i * floats, (size_t)floats * sizeof *from);
    }
    return b->input;
}

/* Squared error relative to what is wanted, and its gradient as part of a batch. */
static double relative_error(int64_t n, const float *z, const float *wanted, double share, float *grad) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i += 4096) {
        int64_t end = i + 4096 < n ? i + 4096 : n;
        float e = 0, y = 0;
#pragma omp simd reduction(+ : e, y)
        for (int64_t j = i; j < end; j++) {
            float d = z[j] - wanted[j];
            e += d * d;
            y += wanted[j] * wanted[j];
        }
        error += e;
        size += y;
    }
    if (!(size > 0)) size = (double)n;
    float scale = (float)(2 * share / size);
#pragma omp simd
    for (int64_t j = 0; j < n; j++) grad[j] = scale * (z[j] - wanted[j]);
    return error / size;
}

static void compare(struct blockwise *b, int slice, const float *z) {
    const struct stage *s = b->stage;
    const struct slicing *slicing = s->task->slicing;
    const struct training_config *config = s->task->config;
    const struct block *block = &b->block[slice - s->first];
    int64_t floats = slicing_target_floats(slicing, slice + 1);
    if (slice + 1 == slicing->nslices) {
        bool distil = slice_distils(s->task);
        const int32_t *label = dataset_classes(s->task->data) || !distil ? b->label : NULL;
        loss_add(&config->loss, s->micro, floats, z, distil ? block->mapped : NULL, label, config->batch,
                 block->grad, &b->progress->loss);
        return;
    }
    double share = 1.0 / (double)s->micro_batches;
    b->progress->boundary_error += relative_error(s->micro * floats, z, block->mapped, share, block->grad);
    b->progress->boundaries++;
}

static status train_slice(struct blockwise *b, const struct turn *turn, int slice, const float **own) {
    struct stage *s = b->stage;
    struct block *block = &b->block[slice - s->first];
    int64_t step = s->epoch * s->steps_per_epoch + turn->step;
    struct span begin = span_begin();
    const float *source = slice == s->first ? (slice ? b->begin : b->x) : block[-1].mapped;
    const float *input = mix(b, turn, slice, source, *own);
    if (s->task->slicing->boundary[slice + 1].source >= 0) fetch(b, turn, slice + 1, block->mapped);
    exec_set_step(block->exec, (uint64_t)step, (uint64_t)(turn->m * s->micro));
    STATUS_TRY(exec_forward(block->exec, &input));
    *own = exec_output(block->exec, 0);
    stage_computed(s, "forward", slice, turn, begin);
    begin = span_begin();
    compare(b, slice, *own);
    STATUS_TRY(exec_backward(block->exec, (const float *const[]){block->grad}, s->grads));
    stage_accumulate(s, slice);
    stage_computed(s, "backward", slice, turn, begin);
    return SUCCESS;
}

static status run_turn(struct blockwise *b, const struct turn *turn, bool failed) {
    struct stage *s = b->stage;
    const float *own = NULL;
    status error = SUCCESS;
    if (!failed && (b->x || b->label))
        error = stage_read(s, turn, b->x, dataset_classes(s->task->data) ? b->label : NULL);
    if (b->source) error = status_first(error, source_part_turn(b->source, turn, b->x, failed || error));
    if (b->in.relay) error = status_first(error, link_take(&b->in, &own));
    if (!error && !failed) fetch(b, turn, s->first, b->begin);
    for (int i = s->first; i < s->end && !error && !failed; i++) {
        error = train_slice(b, turn, i, &own);
        if (b->source) source_part_progress(b->source);
    }
    if (b->out.relay) error = status_first(error, link_give(&b->out, turn, error || failed ? NULL : own));
    if (b->in.relay) error = status_first(error, link_release(&b->in));
    if (b->source) error = status_first(error, source_part_end(b->source));
    return error;
}

static status blockwise_run(void *self, int64_t first, int64_t end, struct slice_progress *progress) {
    struct blockwise *b = self;
    struct stage *s = b->stage;
    b->progress = progress;
    status error = b->source ? source_part_begin(b->source, first, end) : SUCCESS;
    error = status_first(error, link_begin(&b->in, first, end));
    struct turn turn = stage_first_turn(s, first, end);
    for (int64_t step = first; step < end; step++) {
        for (; turn.step == step; stage_next_turn(s, end, &turn))
            error = status_first(error, run_turn(b, &turn, error != SUCCESS));
        error = status_first(error, stage_update(s, step, error != SUCCESS));
    }
    if (b->source) error = status_first(error, source_part_flush(b->source));
    error = status_first(error, link_flush(&b->out));
    return error;
}

static size_t blockwise_memory(const void *self) {
    const struct blockwise *b = self;
    size_t bytes = b->source ? source_part_memory(b->source) : 0;
    for (int i = 0; i < b->stage->end - b->stage->first; i++) bytes += exec_memory(b->block[i].exec);
    return bytes;
}

const struct slice_way slice_way_blockwise = {.name = "blockwise",
                                              .open = blockwise_open,
                                              .run = blockwise_run,
                                              .memory = blockwise_memory,
                                              .close = blockwise_close};

#include "worker/sweep.h"
#include "worker/source_part.h"

#include <stdlib.h>

#define DEPTH 4 /* messages under way to a stage */

/* The stage takes its turns from the sweep. */
static status begin(struct stage *s, enum dataset_part part, int64_t **order, int64_t *steps) {
    int64_t n = dataset_size(s->task->data, part), batch = s->task->config->batch;
    *steps = (n + batch - 1) / batch;
    STATUS_TRY(
        memory_alloc("the order of samples", (size_t)(*steps * batch), sizeof **order, (void **)order));
    for (int64_t i = 0; i < *steps * batch; i++) (*order)[i] = i < n ? i : n - 1;
    s->part = part;
    s->order = *order;
    return SUCCESS;
}

/* Samples of a turn that are not repetitions. */
static int64_t fresh(const struct stage *s, const struct turn *turn) {
    int64_t left =
        dataset_size(s->task->data, s->part) - (turn->step * s->task->config->batch + turn->m * s->micro);
    return left < 0 ? 0 : left < s->micro ? left : s->micro;
}

/* ---- the source's activations ---- */

static void keep(const struct stage *s, const struct turn *turn, const struct source_part *source,
                 struct boundary_cache *cache, float *mapped) {
    const struct slicing *slicing = s->task->slicing;
    const int64_t *sample = stage_samples(s, turn);
    for (int b = s->first; b <= s->end; b++) {
        if (b == 0 || slicing->boundary[b].source < 0) continue;
        int64_t floats = slicing_target_floats(slicing, b), n = fresh(s, turn);
        slicing_map(slicing, b, n, source_part_at(source, b), mapped);
        for (int64_t i = 0; i < n; i++) boundary_cache_put(cache, b, sample[i], mapped + i * floats);
    }
}

static status widest(const struct stage *s, float **x) {
    int64_t most = 0;
    for (int b = s->first; b <= s->end; b++) {
        int64_t floats = slicing_target_floats(s->task->slicing, b);
        if (floats > most) most = floats;
    }
    return memory_alloc("activations", (size_t)(s->micro * most), sizeof **x, (void **)x);
}

static status run_source(struct stage *s, struct boundary_cache *cache, struct source_part *source, float *x,
                         float *mapped, int64_t steps) {
    status error = source_part_begin(source, 0, steps);
    for (struct turn turn = stage_first_turn(s, 0, steps); turn.step < steps;
         stage_next_turn(s, steps, &turn)) {
        if (x && !error) error = stage_read(s, &turn, x, NULL);
        error = status_first(error, source_part_turn(source, &turn, x, error != SUCCESS));
        if (!error) keep(s, &turn, source, cache, mapped);
        error = status_first(error, source_part_end(source));
    }
    return status_first(error, source_part_flush(source));
}

status sweep_source(struct stage *s, struct boundary_cache *cache) {
    struct source_part *source = NULL;
    float *x = NULL, *mapped = NULL;
    int64_t *order = NULL, steps = 0;
    status error = begin(s, DATASET_TRAIN, &order, &steps);
    if (!error) error = source_part_open(s, true, &source);
    if (!error) error = widest(s, &mapped);
    if (!error && stage_is_first(s))
        error = memory_alloc("a batch", (size_t)(s->micro * slicing_target_floats(s->task->slicing, 0)),
                             sizeof *x, (void **)&x);
    error = comm_agree(s->machine->world, error);
    if (!error) error = run_source(s, cache, source, x, mapped, steps);
    source_part_close(&source);
    free(x);
    free(mapped);
    free(order);
    s->order = NULL;
    error = comm_agree(s->machine->world, error);
    return error ? error : boundary_cache_sync(cache);
}

/* ---- outputs ---- */

struct forward_sweep {
    struct stage *stage;
    struct source_part *source; /* of the source; or of the target: */
    struct exec *exec;
    struct stage_link in, out;
    float *x;       /* of the first stage */
    int32_t *label; /* of the last stage */
    struct loss_result result;
};

static status open_forward(struct forward_sweep *f) {
    struct stage *s = f->stage;
    if (stage_is_first(s))
        STATUS_TRY(memory_alloc("a batch", (size_t)(s->micro * slicing_target_floats(s->task->slicing, 0)),
                                sizeof *f->x, (void **)&f->x));
    if (!stage_is_last(s)) return SUCCESS;
    return memory_alloc("labels", (size_t)s->micro, sizeof *f->label, (void **)&f->label);
}

static status open_target(struct forward_sweep *f, struct params *params) {
    struct stage *s = f->stage;
    const struct slicing *slicing = s->task->slicing;
    struct exec_options options = {.batch = s->micro, .mode = EXEC_INFER, .threads = s->machine->threads};
    STATUS_TRY(s->machine->engine->compile(s->graph, &options, &f->exec));
    STATUS_TRY(exec_set_params(f->exec, params));
    if (!stage_is_first(s))
        STATUS_TRY(link_open(&f->in, s, LINK_TARGET, s->index - 1, true,
                             slicing_target_floats(slicing, s->first), DEPTH));
    if (stage_is_last(s)) return SUCCESS;
    return link_open(&f->out, s, LINK_TARGET, s->index + 1, false, slicing_target_floats(slicing, s->end),
                     DEPTH);
}

static void close_forward(struct forward_sweep *f) {
    link_close(&f->in);
    link_close(&f->out);
    source_part_close(&f->source);
    exec_destroy(&f->exec);
    free(f->x);
    free(f->label);
}

static void add_loss(struct forward_sweep *f, const struct turn *turn, const float *logits) {
    char kind[] = "cross_entropy";
    const struct loss_config loss = {.kind = kind, .temperature = 1};
    const struct stage *s = f->stage;
    loss_add(&loss, fresh(s, turn), slicing_target_floats(s->task->slicing, s->end), logits, NULL, f->label,
             1, NULL, &f->result);
}

static status target_turn(struct forward_sweep *f, const struct turn *turn, bool failed) {
    const float *input = f->x;
    status error = SUCCESS;
    if (f->in.relay) error = link_take(&f->in, &input);
    if (!error && !failed) error = exec_forward(f->exec, &input);
    const float *output = error || failed ? NULL : exec_output(f->exec, 0);
    if (f->out.relay) error = status_first(error, link_give(&f->out, turn, output));
    else if (output) add_loss(f, turn, output);
    if (f->in.relay) error = status_first(error, link_release(&f->in));
    return error;
}

static status source_turn(struct forward_sweep *f, const struct turn *turn, bool failed) {
    status error = source_part_turn(f->source, turn, f->x, failed);
    if (!error && !failed && f->label) add_loss(f, turn, source_part_at(f->source, f->stage->end));
    return status_first(error, source_part_end(f->source));
}

static status run_forward(struct forward_sweep *f, int64_t steps) {
    struct stage *s = f->stage;
    status error = f->source ? source_part_begin(f->source, 0, steps) : link_begin(&f->in, 0, steps);
    struct turn turn = stage_first_turn(s, 0, steps);
    for (; turn.step < steps; stage_next_turn(s, steps, &turn)) {
        if (!error && (f->x || f->label)) error = stage_read(s, &turn, f->x, f->label);
        bool failed = error != SUCCESS;
        error =
            status_first(error, f->source ? source_turn(f, &turn, failed) : target_turn(f, &turn, failed));
    }
    return status_first(error, f->source ? source_part_flush(f->source) : link_flush(&f->out));
}

/* params NULL: of the source. */
static status evaluate_sweep(struct stage *s, struct params *params, enum dataset_part part,
                             struct evaluation *evaluation) {
    const struct comm *world = s->machine->world;
    struct forward_sweep f = {.stage = s};
    int64_t *order = NULL, steps = 0;
    status error = begin(s, part, &order, &steps);
    if (!error) error = open_forward(&f);
    if (!error) error = params ? open_target(&f, params) : source_part_open(s, false, &f.source);
    error = comm_agree(world, error);
    if (!error) error = comm_agree(world, run_forward(&f, steps));
    close_forward(&f);
    free(order);
    s->order = NULL;
    STATUS_TRY(error);
    double sum[2] = {f.result.loss, (double)f.result.correct};
    STATUS_TRY(comm_sum_f64(world, sum, 2));
    int64_t n = dataset_size(s->task->data, part);
    *evaluation = (struct evaluation){.samples = n, .correct = (int64_t)sum[1]};
    if (n > 0) {
        evaluation->loss = sum[0] / (double)n;
        evaluation->accuracy = sum[1] / (double)n;
    }
    return SUCCESS;
}

status sweep_evaluate(struct stage *s, struct params *params, enum dataset_part part,
                      struct evaluation *evaluation) {
    return evaluate_sweep(s, params, part, evaluation);
}

status sweep_evaluate_source(struct stage *s, enum dataset_part part, struct evaluation *evaluation) {
    const struct slicing *slicing = s->task->slicing;
    *evaluation = (struct evaluation){0};
    return slicing->boundary[slicing->nslices].source < 0 ? SUCCESS
                                                          : evaluate_sweep(s, NULL, part, evaluation);
}

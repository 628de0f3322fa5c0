#include "worker/teacher.h"

#include <stdlib.h>
#include <string.h>

#define FILL_BATCH 256
#define VARIANTS_BYTES ((size_t)512 << 20)
#define VARIANTS_MAX 8
#define VARIANTS_MIN 4

struct teacher {
    const struct opgraph *graph;
    struct params *params;
    struct dataset *dataset;
    struct teacher_options options;
    int64_t classes, sample, rows; /* training samples */
    float *kept;                   /* (variants, rows, classes) */
    uint8_t *known;                /* (variants, rows) whether it is kept */
    bool whole[VARIANTS_MAX];      /* all of a variant's rows are known */
    float *logits;                 /* (nlogits, classes) for the caller */
    int64_t nlogits;
    struct forward *forward; /* options.batch samples at a time */
    float *x;                /* (options.batch, sample) those that are not known */
    int64_t *place;          /* [options.batch] where their logits go */
};

int64_t teacher_variants(int64_t samples, int64_t classes, bool augment) {
    if (!augment) return 1;
    size_t row = (size_t)(samples * classes) * sizeof(float);
    int64_t fit = row ? (int64_t)(VARIANTS_BYTES / row) : VARIANTS_MAX;
    return fit < VARIANTS_MIN ? 0 : fit < VARIANTS_MAX ? fit : VARIANTS_MAX;
}

static status allocate(struct teacher *t) {
    size_t batch = (size_t)t->options.batch, rows = (size_t)(t->options.variants * t->rows);
    STATUS_TRY(memory_alloc("a teacher's batch", batch * (size_t)t->sample, sizeof(float), (void **)&t->x));
    STATUS_TRY(memory_alloc("a teacher's batch", batch, sizeof *t->place, (void **)&t->place));
    if (!rows) return SUCCESS;
    STATUS_TRY(
        memory_alloc("the teacher's outputs", rows * (size_t)t->classes, sizeof(float), (void **)&t->kept));
    return memory_alloc("the teacher's outputs", rows, 1, (void **)&t->known);
}

status teacher_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      struct dataset *dataset, const struct teacher_options *options,
                      struct teacher **teacher) {
    struct teacher *t = calloc(1, sizeof *t);
    if (!t) return status_no_memory("a teacher", sizeof *t);
    *t = (struct teacher){.graph = graph, .params = params, .dataset = dataset, .options = *options};
    t->classes = shape_sample_count(&graph->value[graph->output[0]]);
    t->sample = shape_sample_count(&graph->value[graph->input[0]]);
    t->rows = dataset_size(dataset, DATASET_TRAIN);
    if (t->options.variants > VARIANTS_MAX) t->options.variants = VARIANTS_MAX;
    status error = allocate(t);
    if (!error) error = forward_create(machine, graph, params, t->options.batch, &t->forward);
    if (error) {
        teacher_destroy(&t);
        return error;
    }
    *teacher = t;
    return SUCCESS;
}

void teacher_destroy(struct teacher **teacher) {
    if (!*teacher) return;
    forward_destroy(&(*teacher)->forward);
    free((*teacher)->kept);
    free((*teacher)->known);
    free((*teacher)->logits);
    free((*teacher)->x);
    free((*teacher)->place);
    free(*teacher);
    *teacher = NULL;
}

int64_t teacher_epoch(const struct teacher *t, int64_t epoch) {
    return t->options.variants ? epoch % t->options.variants : epoch;
}

/* ---- whole parts, split over the ranks ---- */

/* Logits of this rank's blocks of a part, to[sample * classes]; the others stay as they are. */
static status compute_blocks(const struct teacher *t, const struct machine *machine,
                             const struct batch_request *like, float *to) {
    int64_t size = dataset_size(t->dataset, like->part), nblocks = (size + FILL_BATCH - 1) / FILL_BATCH;
    struct forward *forward = NULL;
    float *x = NULL;
    int64_t index[FILL_BATCH];
    status error = forward_create(machine, t->graph, t->params, FILL_BATCH, &forward);
    if (!error)
        error = memory_alloc("a teacher's batch", FILL_BATCH * (size_t)t->sample, sizeof(float), (void **)&x);
    for (int64_t b = comm_rank(machine->world); b < nblocks && !error; b += comm_size(machine->world)) {
        struct batch_request request = *like;
        int64_t first = b * FILL_BATCH;
        request.index = index;
        request.n = size - first < FILL_BATCH ? size - first : FILL_BATCH;
        for (int64_t i = 0; i < request.n; i++) index[i] = first + i;
        double begin = comm_time();
        error = dataset_read(t->dataset, &request, x, NULL);
        if (!error) error = forward_inputs(forward, x, request.n);
        machine_span(machine, TRACE_COMPUTE, "teacher", -1, b, begin);
        if (!error)
            memcpy(to + first * t->classes, forward_output(forward, 0),
                   (size_t)(request.n * t->classes) * sizeof(float));
    }
    free(x);
    forward_destroy(&forward);
    return error;
}

status teacher_begin_epoch(struct teacher *t, const struct machine *machine, int64_t epoch) {
    if (!t->options.variants) return SUCCESS;
    int64_t variant = teacher_epoch(t, epoch), n = t->rows * t->classes;
    if (t->whole[variant]) return SUCCESS;
    struct batch_request request = {
        .part = DATASET_TRAIN, .augment = t->options.augment, .epoch = (uint64_t)variant};
    float *to = t->kept + variant * n;
    /* Each block is computed by one rank and zero on the others. */
    memset(to, 0, (size_t)n * sizeof *to);
    STATUS_TRY(comm_agree(machine->world, compute_blocks(t, machine, &request, to)));
    STATUS_TRY(comm_sum_f32(machine->world, to, (size_t)n));
    memset(t->known + variant * t->rows, 1, (size_t)t->rows);
    t->whole[variant] = true;
    return SUCCESS;
}

status teacher_classes(struct teacher *t, const struct machine *machine, enum dataset_part part,
                       int32_t *class) {
    int64_t size = dataset_size(t->dataset, part);
    struct batch_request request = {.part = part};
    float *logits = NULL;
    status error =
        memory_alloc("the teacher's outputs", (size_t)(size * t->classes), sizeof *logits, (void **)&logits);
    if (!error) error = compute_blocks(t, machine, &request, logits);
    error = comm_agree(machine->world, error);
    if (!error) error = comm_sum_f32(machine->world, logits, (size_t)(size * t->classes));
    for (int64_t i = 0; i < size && !error; i++) {
        const float *z = logits + i * t->classes;
        class[i] = 0;
        for (int64_t j = 1; j < t->classes; j++)
            if (z[j] > z[class[i]]) class[i] = (int32_t)j;
    }
    free(logits);
    return error;
}

/* ---- batches ---- */

/* Computes the `n` samples gathered in t->x, into their places in `to`. */
static status compute(struct teacher *t, int64_t n, float *to) {
    STATUS_TRY(forward_inputs(t->forward, t->x, n));
    const float *z = forward_output(t->forward, 0);
    for (int64_t i = 0; i < n; i++)
        memcpy(to + t->place[i] * t->classes, z + i * t->classes, (size_t)t->classes * sizeof *to);
    return SUCCESS;
}

/* Logits of those of n samples that are not known (known NULL: of all) go to to[at[i] * classes]; at NULL:
 * to[i * classes]. */
static status compute_unknown(struct teacher *t, const uint8_t *known, const int64_t *at, const float *x,
                              int64_t n, float *to) {
    int64_t gathered = 0;
    for (int64_t i = 0; i < n; i++) {
        if (known && known[at[i]]) continue;
        memcpy(t->x + gathered * t->sample, x + i * t->sample, (size_t)t->sample * sizeof *x);
        t->place[gathered++] = at ? at[i] : i;
        if (gathered < t->options.batch) continue;
        STATUS_TRY(compute(t, gathered, to));
        gathered = 0;
    }
    return gathered ? compute(t, gathered, to) : SUCCESS;
}

status teacher_logits(struct teacher *t, int64_t epoch, const int64_t *index, const float *x, int64_t n,
                      const float **logits) {
    if (n > t->nlogits) {
        free(t->logits);
        t->logits = NULL;
        t->nlogits = 0;
        STATUS_TRY(memory_alloc("the teacher's outputs", (size_t)(n * t->classes), sizeof *t->logits,
                                (void **)&t->logits));
        t->nlogits = n;
    }
    *logits = t->logits;
    if (!t->options.variants) return compute_unknown(t, NULL, NULL, x, n, t->logits);
    int64_t variant = teacher_epoch(t, epoch);
    float *kept = t->kept + variant * t->rows * t->classes;
    uint8_t *known = t->known + variant * t->rows;
    STATUS_TRY(compute_unknown(t, known, index, x, n, kept));
    for (int64_t i = 0; i < n; i++) {
        known[index[i]] = 1;
        memcpy(t->logits + i * t->classes, kept + index[i] * t->classes,
               (size_t)t->classes * sizeof *t->logits);
    }
    return SUCCESS;
}

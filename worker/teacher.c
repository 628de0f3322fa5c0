#include "worker/teacher.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_BATCH 256

struct teacher {
    int64_t classes, batch;
    float *cache;            /* (training samples, classes), or NULL */
    float *gathered;         /* (batch, classes) rows of the cache */
    struct forward *forward; /* without a cache */
};

static status fill_share(const struct machine *machine, const struct opgraph *graph, struct params *params,
                         struct dataset *dataset, struct teacher *t) {
    int64_t size = dataset_size(dataset, DATASET_TRAIN), nblocks = (size + CACHE_BATCH - 1) / CACHE_BATCH;
    struct forward *forward = NULL;
    STATUS_TRY(forward_create(machine, graph, params, CACHE_BATCH, &forward));
    status error = SUCCESS;
    int64_t index[CACHE_BATCH];
    for (int64_t b = comm_rank(machine->world); b < nblocks && !error; b += comm_size(machine->world)) {
        int64_t first = b * CACHE_BATCH, n = size - first < CACHE_BATCH ? size - first : CACHE_BATCH;
        for (int64_t i = 0; i < n; i++) index[i] = first + i;
        double begin = comm_time();
        error = forward_samples(forward, dataset, DATASET_TRAIN, index, n, NULL);
        machine_span(machine, TRACE_COMPUTE, "teacher", -1, b, begin);
        if (!error)
            memcpy(t->cache + first * t->classes, forward_output(forward, 0),
                   (size_t)(n * t->classes) * sizeof(float));
    }
    forward_destroy(&forward);
    return error;
}

status teacher_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      struct dataset *dataset, bool cache, int64_t batch, struct teacher **teacher) {
    status error = SUCCESS;
    struct teacher *t = calloc(1, sizeof *t);
    if (!t) error = status_no_memory("a teacher", sizeof *t);
    if (!error) {
        t->batch = batch;
        t->classes = shape_sample_count(&graph->value[graph->output[0]]);
        size_t rows = (size_t)dataset_size(dataset, DATASET_TRAIN);
        if (cache) {
            error = memory_alloc("the teacher's outputs", rows * (size_t)t->classes, sizeof(float),
                                 (void **)&t->cache);
            if (!error)
                error = memory_alloc("the teacher's outputs", (size_t)(batch * t->classes), sizeof(float),
                                     (void **)&t->gathered);
            if (!error) error = fill_share(machine, graph, params, dataset, t);
        } else {
            error = forward_create(machine, graph, params, batch, &t->forward);
        }
    }
    error = comm_agree(machine->world, error);
    /* Each block was computed by one rank and is zero on the others. */
    if (!error && cache)
        error = comm_sum_f32(machine->world, t->cache,
                             (size_t)(dataset_size(dataset, DATASET_TRAIN) * t->classes));
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
    free((*teacher)->cache);
    free((*teacher)->gathered);
    free(*teacher);
    *teacher = NULL;
}

status teacher_logits(struct teacher *t, const int64_t *index, const float *x, int64_t n,
                      const float **logits) {
    if (!t->cache) {
        STATUS_TRY(forward_inputs(t->forward, x, n));
        *logits = forward_output(t->forward, 0);
        return SUCCESS;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(t->gathered + i * t->classes, t->cache + index[i] * t->classes,
               (size_t)t->classes * sizeof(float));
    *logits = t->gathered;
    return SUCCESS;
}

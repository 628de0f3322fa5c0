#include "worker/calibration.h"

#include "shared/rng.h"

#include <stdlib.h>

void calibration_destroy(struct calibration **calibration) {
    if (!*calibration) return;
    free((*calibration)->x);
    free(*calibration);
    *calibration = NULL;
}

int64_t calibration_held(const struct calibration *c) {
    enum { EVERY = 8 };
    int64_t nblocks = (c->total + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK;
    return nblocks < 2 ? 0 : nblocks < EVERY ? nblocks : EVERY;
}

static status read_share(const struct machine *machine, struct dataset *dataset, uint64_t seed,
                         struct calibration *c) {
    int64_t size = dataset_size(dataset, DATASET_TRAIN),
            nblocks = (c->total + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK;
    int rank = comm_rank(machine->world), ranks = comm_size(machine->world);
    int64_t first = share_begin(nblocks, rank, ranks) * CALIBRATION_BLOCK;
    int64_t end = share_begin(nblocks, rank + 1, ranks) * CALIBRATION_BLOCK;
    c->first = first / CALIBRATION_BLOCK;
    if (end > c->total) end = c->total;
    c->n = end > first ? end - first : 0;
    c->sample = shape_sample_count(dataset_sample_shape(dataset));
    STATUS_TRY(memory_alloc("calibration samples (lower refit.samples)", (size_t)(c->n * c->sample),
                            sizeof *c->x, (void **)&c->x));
    int64_t *order = NULL;
    STATUS_TRY(memory_alloc("the order of samples", (size_t)size, sizeof *order, (void **)&order));
    for (int64_t i = 0; i < size; i++) order[i] = i;
    struct rng rng = rng_make(seed, RNG_CALIBRATION, 0);
    rng_shuffle(&rng, order, size);
    struct batch_request request = {.part = DATASET_TRAIN, .index = order + first, .n = c->n};
    status error = c->n ? dataset_read(dataset, &request, c->x, NULL) : SUCCESS;
    free(order);
    return error;
}

status calibration_create(const struct machine *machine, struct dataset *dataset, int64_t samples,
                          uint64_t seed, struct calibration **calibration) {
    int64_t size = dataset_size(dataset, DATASET_TRAIN);
    struct calibration *c = calloc(1, sizeof *c);
    status error = c ? SUCCESS : status_no_memory("calibration samples", sizeof *c);
    if (c) {
        c->total = samples < size ? samples : size;
        error = read_share(machine, dataset, seed, c);
    }
    error = comm_agree(machine->world, error);
    if (error) {
        calibration_destroy(&c);
        return error;
    }
    *calibration = c;
    return SUCCESS;
}

/* Which samples are held out, and the order of an epoch: by the seed alone. */
#include "io/dataset_store.h"

#include "shared/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_index(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Enough to tell settings apart, few enough to be missed little. */
static int64_t automatic_part(int64_t n) {
    int64_t held = n / 20 > 500 ? n / 20 : 500;
    return held < n / 10 ? held : n / 10;
}

status dataset_split(struct dataset *dataset, double holdout) {
    int64_t n = dataset->store[0].n;
    if (!(holdout < 1))
        return status_fail(STATUS_USAGE, "data.holdout is %g; choose a fraction in [0, 1)", holdout);
    int64_t held = holdout < 0 ? automatic_part(n) : (int64_t)llround((double)n * holdout);
    if (held >= n) held = n > 0 ? n - 1 : 0;
    dataset->size[DATASET_TRAIN] = n - held;
    dataset->size[DATASET_HOLDOUT] = held;
    if (held == 0) return SUCCESS;
    void *index[2];
    STATUS_TRY(memory_alloc("the hold-out split", (size_t)n, sizeof(int64_t), &index[0]));
    dataset->index[DATASET_TRAIN] = index[0];
    STATUS_TRY(memory_alloc("the hold-out split", (size_t)held, sizeof(int64_t), &index[1]));
    dataset->index[DATASET_HOLDOUT] = index[1];
    int64_t *all = index[0];
    for (int64_t i = 0; i < n; i++) all[i] = i;
    struct rng rng = rng_make(dataset->seed, RNG_SPLIT, 0);
    rng_shuffle(&rng, all, n);
    memcpy(index[1], all + (n - held), (size_t)held * sizeof *all);
    qsort(index[0], (size_t)(n - held), sizeof *all, compare_index);
    qsort(index[1], (size_t)held, sizeof *all, compare_index);
    return SUCCESS;
}

/* Slabs in a random order, and samples shuffled inside windows of as many slabs as are kept in memory: each
 * slab is read once. */
static status order_by_slab(const struct dataset *dataset, enum dataset_part part,
                            const struct dataset_store *store, struct rng *rng, int64_t n, int64_t *order) {
    int64_t slab = store->source.slab, nslabs = (store->n + slab - 1) / slab;
    void *memory;
    STATUS_TRY(memory_alloc("the order of samples", (size_t)(2 * nslabs + 1), sizeof(int64_t), &memory));
    int64_t *begin = memory,
            *shuffled = begin + nslabs + 1; /* samples of slab s: begin[s] .. begin[s + 1] of the part */
    for (int64_t i = 0; i < n; i++) begin[dataset_part_index(dataset, part, i) / slab + 1]++;
    for (int64_t s = 0; s < nslabs; s++) {
        begin[s + 1] += begin[s];
        shuffled[s] = s;
    }
    rng_shuffle(rng, shuffled, nslabs);
    int64_t done = 0;
    for (int64_t first = 0; first < nslabs; first += store->nslabs) {
        int64_t start = done, last = first + store->nslabs < nslabs ? first + store->nslabs : nslabs;
        for (int64_t s = first; s < last; s++)
            for (int64_t i = begin[shuffled[s]]; i < begin[shuffled[s] + 1]; i++) order[done++] = i;
        rng_shuffle(rng, order + start, done - start);
    }
    free(memory);
    return SUCCESS;
}

status dataset_order(const struct dataset *dataset, enum dataset_part part, uint64_t epoch, int64_t *order) {
    int64_t n = dataset_size(dataset, part);
    struct rng rng = rng_make(dataset->seed, RNG_SHUFFLE, epoch * 3 + (uint64_t)part);
    const struct dataset_store *store = &dataset->store[part == DATASET_TEST];
    if (store->nslabs > 0) return order_by_slab(dataset, part, store, &rng, n, order);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    rng_shuffle(&rng, order, n);
    return SUCCESS;
}

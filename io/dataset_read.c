/* Batches: samples found in memory or read from their source, augmented, scaled. */
#include "io/dataset_store.h"

#include "shared/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLABS_BYTES ((int64_t)64 << 20) /* of a store's slabs kept in memory */
#define SLABS_MAX 64

status dataset_store_read(struct dataset_store *store, int64_t first, int64_t n, void *x) {
    struct dataset_source *source = &store->source;
    STATUS_TRY(source->format->read(source, first, n, x));
    if (store->dtype != DTYPE_F32) return SUCCESS;
    const float *value = x;
    for (int64_t i = 0; i < n * store->count; i++)
        if (!isfinite(value[i]))
            return status_fail(STATUS_DATA,
                               "%s: sample %" PRId64
                               " has a value that is NaN or infinite; remove or repair it",
                               source->name, first + i / store->count);
    return SUCCESS;
}

status dataset_reader_create(struct dataset *dataset) {
    size_t largest = 0;
    for (int s = 0; s < 2; s++) {
        struct dataset_store *store = &dataset->store[s];
        if (store->nbytes > largest) largest = store->nbytes;
        int64_t slab = store->source.slab;
        if (store->n == 0 || store->resident || slab <= 0) continue;
        int64_t nbytes = slab * (int64_t)store->nbytes, n = SLABS_BYTES / nbytes;
        n = n < 1 ? 1 : n > SLABS_MAX ? SLABS_MAX : n;
        store->slab = calloc((size_t)n, sizeof *store->slab);
        if (!store->slab) return status_no_memory("chunks of samples", (size_t)n * sizeof *store->slab);
        store->nslabs = n;
        for (int64_t i = 0; i < n; i++) store->slab[i].number = -1;
    }
    void *scratch;
    STATUS_TRY(memory_alloc("a sample", 2, largest, &scratch));
    dataset->scratch = scratch;
    return SUCCESS;
}

void dataset_reader_destroy(struct dataset *dataset) {
    for (int s = 0; s < 2; s++) {
        struct dataset_store *store = &dataset->store[s];
        for (int64_t i = 0; i < store->nslabs; i++) free(store->slab[i].x);
        free(store->slab);
        store->slab = NULL;
        store->nslabs = 0;
    }
    free(dataset->scratch);
    dataset->scratch = NULL;
}

/* The slab with sample `i`, read if it is not kept. */
static status find_slab(struct dataset_store *store, int64_t i, const uint8_t **x) {
    int64_t samples = store->source.slab, number = i / samples;
    struct dataset_slab *oldest = &store->slab[0];
    for (int64_t s = 0; s < store->nslabs; s++) {
        struct dataset_slab *slab = &store->slab[s];
        if (slab->number == number) {
            slab->used = ++store->clock;
            *x = slab->x;
            return SUCCESS;
        }
        if (slab->used < oldest->used) oldest = slab;
    }
    int64_t first = number * samples, n = store->n - first < samples ? store->n - first : samples;
    if (!oldest->x)
        STATUS_TRY(memory_alloc("a chunk of samples", (size_t)samples, store->nbytes, &oldest->x));
    oldest->number = -1; /* what it holds is lost if reading fails */
    STATUS_TRY(dataset_store_read(store, first, n, oldest->x));
    oldest->number = number;
    oldest->used = ++store->clock;
    *x = oldest->x;
    return SUCCESS;
}

/* Sample `i` of the store as stored; valid until the next call. */
static status find_sample(struct dataset *dataset, struct dataset_store *store, int64_t i,
                          const uint8_t **sample) {
    if (store->resident) {
        *sample = (const uint8_t *)store->x + (size_t)i * store->nbytes;
    } else if (store->slab) {
        STATUS_TRY(find_slab(store, i, sample));
        *sample += (size_t)(i % store->source.slab) * store->nbytes;
    } else {
        STATUS_TRY(dataset_store_read(store, i, 1, dataset->scratch));
        *sample = dataset->scratch;
    }
    return SUCCESS;
}

/* A row of `n` pixels of `size` bytes from right to left. */
static void copy_mirrored(uint8_t *to, const uint8_t *from, int64_t n, size_t size) {
    if (size == 1) {
        for (int64_t x = 0; x < n; x++) to[x] = from[n - 1 - x];
    } else if (size == sizeof(float)) {
        for (int64_t x = 0; x < n; x++) memcpy(to + 4 * x, from + 4 * (n - 1 - x), 4);
    } else {
        for (int64_t x = 0; x < n; x++)
            memcpy(to + (size_t)x * size, from + (size_t)(n - 1 - x) * size, size);
    }
}

/* Mirrors left-right, then moves by (dy, dx); zeros come in at the edges. */
static void move_image(const struct dataset *dataset, const uint8_t *from, uint8_t *to, size_t element,
                       bool mirror, int64_t dy, int64_t dx) {
    int64_t height = dataset->height, width = dataset->width, kept = width - llabs(dx);
    size_t pixel = (size_t)dataset->channels * element, row = (size_t)width * pixel;
    for (int64_t y = 0; y < height; y++, to += row) {
        int64_t source = y - dy;
        if (source < 0 || source >= height || kept <= 0) {
            memset(to, 0, row);
            continue;
        }
        /* columns [left, left + kept) of the result come from columns [left - dx, ...) of the mirrored row */
        int64_t left = dx > 0 ? dx : 0, first = left - dx;
        const uint8_t *line = from + (size_t)source * row;
        memset(to, 0, (size_t)left * pixel);
        if (mirror)
            copy_mirrored(to + (size_t)left * pixel, line + (size_t)(width - first - kept) * pixel, kept,
                          pixel);
        else memcpy(to + (size_t)left * pixel, line + (size_t)first * pixel, (size_t)kept * pixel);
        memset(to + (size_t)(left + kept) * pixel, 0, (size_t)(width - left - kept) * pixel);
    }
}

static const uint8_t *augment(struct dataset *dataset, const struct dataset_store *store, uint64_t epoch,
                              int64_t i, const uint8_t *sample) {
    if (!dataset->augmentation.flip && dataset->augmentation.shift == 0) return sample;
    struct rng rng = rng_make(dataset->seed, RNG_AUGMENT, epoch * (uint64_t)store->n + (uint64_t)i);
    bool mirror = dataset->augmentation.flip && rng_below(&rng, 2);
    int64_t dy = 0, dx = 0;
    if (dataset->augmentation.shift > 0) {
        uint64_t places = 2 * (uint64_t)dataset->augmentation.shift + 1;
        dy = (int64_t)rng_below(&rng, places) - dataset->augmentation.shift;
        dx = (int64_t)rng_below(&rng, places) - dataset->augmentation.shift;
    }
    uint8_t *moved = dataset->scratch + store->nbytes;
    move_image(dataset, sample, moved, dtype_size(store->dtype), mirror, dy, dx);
    return moved;
}

static void scale(const struct dataset_store *store, const uint8_t *sample, float *x) {
    if (store->dtype == DTYPE_U8) {
        for (int64_t k = 0; k < store->count; k++) x[k] = store->table[sample[k]];
        return;
    }
    memcpy(x, sample, store->nbytes);
    if (store->scale == 1 && store->offset == 0) return;
    for (int64_t k = 0; k < store->count; k++) x[k] = (float)(x[k] * store->scale + store->offset);
}

status dataset_read(struct dataset *dataset, const struct batch_request *request, float *x, int32_t *label) {
    struct dataset_store *store = dataset_part_store(dataset, request->part);
    int64_t size = dataset_size(dataset, request->part);
    if (label && !store->label && request->n > 0)
        return status_fail(STATUS_DATA, "%s has no labels; give them (data.y_train, data.y_test)",
                           size > 0 ? store->source.name : "the data set");
    for (int64_t b = 0; b < request->n; b++) {
        int64_t i = request->index[b];
        if (i < 0 || i >= size)
            return status_fail(STATUS_DATA,
                               "sample %" PRId64 " is asked for, but there are %" PRId64 "; ask for fewer", i,
                               size);
        i = dataset_part_index(dataset, request->part, i);
        if (label) label[b] = store->label[i];
        if (!x) continue;
        const uint8_t *sample;
        STATUS_TRY(find_sample(dataset, store, i, &sample));
        if (request->augment) sample = augment(dataset, store, request->epoch, i, sample);
        scale(store, sample, x + b * store->count);
    }
    return SUCCESS;
}

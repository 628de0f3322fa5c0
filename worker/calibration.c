#include "worker/calibration.h"

#include "shared/rng.h"

#include <stdlib.h>

#define ALIGNMENT 64 /* bytes, as of memory_alloc() */

void calibration_destroy(struct calibration **calibration) {
    if (!*calibration) return;
    comm_window_destroy(&(*calibration)->window);
    free(*calibration);
    *calibration = NULL;
}

static int64_t blocks_of(int64_t samples) {
    return (samples + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK;
}

int64_t calibration_held(const struct calibration *c) {
    enum { EVERY = 8 };
    int64_t nblocks = blocks_of(c->total);
    return nblocks < 2 ? 0 : nblocks < EVERY ? nblocks : EVERY;
}

/* The first sample of a rank's share; that of the next rank is its end. */
static int64_t share_first(int64_t total, int rank, int ranks) {
    int64_t first = share_begin(blocks_of(total), rank, ranks) * CALIBRATION_BLOCK;
    return first < total ? first : total;
}

/* `x` holds samples from number `from` on. */
static void take_share(struct calibration *c, const struct comm *group, float *x, int64_t from) {
    int rank = comm_rank(group), ranks = comm_size(group);
    int64_t first = share_first(c->total, rank, ranks);
    c->first = share_begin(blocks_of(c->total), rank, ranks);
    c->n = share_first(c->total, rank + 1, ranks) - first;
    c->x = x + (first - from) * c->sample;
}

/* The samples that a node holds. */
struct range {
    int64_t first, end;
};

static status range_of_node(const struct machine *machine, int64_t total, bool whole, struct range *range) {
    int rank = comm_rank(machine->world), ranks = comm_size(machine->world);
    double ends[2] = {-(double)share_first(total, rank, ranks), (double)share_first(total, rank + 1, ranks)};
    STATUS_TRY(comm_max_f64(machine->node, ends, 2));
    *range = whole ? (struct range){0, total} : (struct range){(int64_t)-ends[0], (int64_t)ends[1]};
    return SUCCESS;
}

/* This rank's part of the node's. */
static status read_part(const struct machine *machine, struct dataset *dataset, uint64_t seed,
                        const struct range *range, int64_t sample, float *x) {
    int rank = comm_rank(machine->node), ranks = comm_size(machine->node);
    int64_t size = dataset_size(dataset, DATASET_TRAIN), n = range->end - range->first;
    int64_t first = share_begin(n, rank, ranks), end = share_begin(n, rank + 1, ranks), *order = NULL;
    STATUS_TRY(memory_alloc("the order of samples", (size_t)size, sizeof *order, (void **)&order));
    for (int64_t i = 0; i < size; i++) order[i] = i;
    struct rng rng = rng_make(seed, RNG_CALIBRATION, 0);
    rng_shuffle(&rng, order, size);
    struct batch_request request = {
        .part = DATASET_TRAIN, .index = order + range->first + first, .n = end - first};
    status error = end > first ? dataset_read(dataset, &request, x + first * sample, NULL) : SUCCESS;
    free(order);
    return error;
}

static status fill(const struct machine *machine, struct dataset *dataset, uint64_t seed, bool whole,
                   struct calibration *c) {
    struct range range;
    void *memory = NULL;
    STATUS_TRY(range_of_node(machine, c->total, whole, &range));
    c->bytes = (range.end - range.first) * c->sample * (int64_t)sizeof *c->x;
    STATUS_TRY(
        status_context(comm_window_create(machine->node, (size_t)c->bytes + ALIGNMENT, &memory, &c->window),
                       "calibration samples (lower refit.samples)"));
    float *x = (float *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    take_share(c, machine->world, x, range.first);
    status error = comm_agree(machine->node, read_part(machine, dataset, seed, &range, c->sample, x));
    return error ? error : comm_window_sync(c->window);
}

status calibration_create(const struct machine *machine, struct dataset *dataset, int64_t samples,
                          uint64_t seed, bool whole, struct calibration **calibration) {
    int64_t size = dataset_size(dataset, DATASET_TRAIN);
    struct calibration *c = calloc(1, sizeof *c);
    STATUS_TRY(comm_agree(machine->world, c ? SUCCESS : status_no_memory("calibration samples", sizeof *c)));
    c->total = samples < size ? samples : size;
    c->sample = shape_sample_count(dataset_sample_shape(dataset));
    status error = comm_agree(machine->world, fill(machine, dataset, seed, whole, c));
    if (error) {
        calibration_destroy(&c);
        return error;
    }
    *calibration = c;
    return SUCCESS;
}

status calibration_split(const struct calibration *whole, const struct comm *group,
                         struct calibration **split) {
    struct calibration *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("calibration samples", sizeof *c);
    int64_t first = whole->first * CALIBRATION_BLOCK; /* where the share of `whole` begins */
    if (first > whole->total) first = whole->total;
    *c = (struct calibration){.total = whole->total, .sample = whole->sample};
    take_share(c, group, whole->x - first * whole->sample, 0);
    *split = c;
    return SUCCESS;
}

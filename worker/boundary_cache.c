#include "worker/boundary_cache.h"

#include "io/file.h"
#include "io/scratch.h"
#include "shared/rounding.h"

#include <stdlib.h>
#include <string.h>

struct boundary_cache {
    int first, logits;
    int64_t *floats; /* [boundaries] of a sample */
    size_t *offset;  /* [boundaries] bytes */
    unsigned char *data;
    size_t nbytes;
    struct comm *node;
    struct comm_window *window; /* NULL: the data are a scratch file's */
};

/* Bytes of a sample at a boundary. */
static size_t bytes_at(const struct slicing *s, int boundary) {
    if (boundary == 0) return 0;
    size_t each = boundary == s->nslices ? sizeof(float) : sizeof(uint16_t);
    return (size_t)slicing_target_floats(s, boundary) * each;
}

double boundary_cache_bytes(const struct slicing *s, int first, int end, int64_t samples) {
    double bytes = 0;
    for (int b = first; b <= end; b++) bytes += (double)bytes_at(s, b) * (double)samples;
    return bytes;
}

static status lay_out(const struct stage *s, struct boundary_cache *c) {
    const struct slicing *slicing = s->task->slicing;
    size_t n = (size_t)(s->end - s->first) + 1, samples = (size_t)dataset_size(s->task->data, DATASET_TRAIN);
    c->first = s->first;
    c->logits = slicing->nslices;
    STATUS_TRY(memory_alloc("a cache", n, sizeof *c->floats, (void **)&c->floats));
    STATUS_TRY(memory_alloc("a cache", n, sizeof *c->offset, (void **)&c->offset));
    for (size_t i = 0; i < n; i++) {
        c->floats[i] = slicing_target_floats(slicing, s->first + (int)i);
        c->offset[i] = c->nbytes;
        c->nbytes += (bytes_at(slicing, s->first + (int)i) * samples + 63) / 64 * 64;
    }
    return SUCCESS;
}

/* The node's first rank makes the file; once all have it open it loses its name. */
static status open_scratch(struct boundary_cache *c, const char *folder) {
    char *path = NULL, *made = NULL;
    status error = comm_is_root(c->node) ? scratch_create(folder, c->nbytes, &made) : SUCCESS;
    error = comm_agree(c->node, error);
    if (!error) error = comm_bcast_text(c->node, 0, made, &path);
    if (!error) error = comm_agree(c->node, scratch_open(path, c->nbytes, (void **)&c->data));
    file_abandon(made);
    free(made);
    free(path);
    return error;
}

status boundary_cache_create(const struct stage *s, const char *folder, struct boundary_cache **cache) {
    struct boundary_cache *c = calloc(1, sizeof *c);
    status error = c ? lay_out(s, c) : status_no_memory("a cache", sizeof *c);
    error = comm_agree(s->group, error);
    if (!error) error = comm_split_node(s->group, &c->node);
    if (!error && comm_size(c->node) != comm_size(s->group))
        error = status_fail(STATUS_UNSUPPORTED, "the ranks of a stage are on several nodes");
    error = comm_agree(s->group, error);
    if (!error && folder) error = open_scratch(c, folder);
    if (!error && !folder) error = comm_window_create(c->node, c->nbytes, (void **)&c->data, &c->window);
    if (error) boundary_cache_destroy(&c);
    *cache = c;
    return error;
}

void boundary_cache_destroy(struct boundary_cache **cache) {
    struct boundary_cache *c = *cache;
    if (!c) return;
    if (!c->window) scratch_close(c->data, c->nbytes);
    comm_window_destroy(&c->window);
    comm_destroy(&c->node);
    free(c->floats);
    free(c->offset);
    free(c);
    *cache = NULL;
}

status boundary_cache_sync(struct boundary_cache *c) {
    return c->window ? comm_window_sync(c->window) : comm_barrier(c->node);
}

void boundary_cache_put(struct boundary_cache *c, int boundary, int64_t sample, const float *x) {
    int i = boundary - c->first;
    size_t n = (size_t)c->floats[i];
    unsigned char *place = c->data + c->offset[i];
    if (boundary == c->logits) {
        memcpy(place + (size_t)sample * n * sizeof(float), x, n * sizeof(float));
        return;
    }
    uint16_t *to = (uint16_t *)(void *)place + (size_t)sample * n;
    for (size_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &x[j], sizeof bits);
        to[j] = (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16); /* to the nearest, ties to even */
    }
}

void boundary_cache_get(const struct boundary_cache *c, int boundary, int64_t n, const int64_t *sample,
                        float *x) {
    int i = boundary - c->first;
    size_t floats = (size_t)c->floats[i];
    const unsigned char *place = c->data + c->offset[i];
    for (int64_t s = 0; s < n; s++, x += floats) {
        if (boundary == c->logits) {
            memcpy(x, place + (size_t)sample[s] * floats * sizeof(float), floats * sizeof(float));
            continue;
        }
        const uint16_t *from = (const uint16_t *)(const void *)place + (size_t)sample[s] * floats;
        for (size_t j = 0; j < floats; j++) {
            uint32_t bits = (uint32_t)from[j] << 16;
            memcpy(&x[j], &bits, sizeof bits);
        }
    }
}

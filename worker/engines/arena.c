#include "worker/engines/arena.h"

#include <stdlib.h>

/* Larger first; equal ones by address, so that the plan is the same every time. */
static int compare_size(const void *a, const void *b) {
    const struct arena_block *x = *(struct arena_block *const *)a, *y = *(struct arena_block *const *)b;
    if (x->nbytes != y->nbytes) return x->nbytes < y->nbytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

static size_t rounded(size_t nbytes) {
    return (nbytes + 63) / 64 * 64;
}

/* Lowest offset at which `block` meets none of placed[n] (sorted by offset) that lives at the same time. */
static size_t find_place(const struct arena_block *block, struct arena_block *const *placed, int n) {
    size_t offset = 0;
    for (int i = 0; i < n; i++) {
        const struct arena_block *other = placed[i];
        if (other->last < block->first || other->first > block->last) continue;
        if (other->offset >= offset + rounded(block->nbytes)) break;
        size_t end = other->offset + rounded(other->nbytes);
        if (end > offset) offset = end;
    }
    return offset;
}

status arena_plan(struct arena_block *blocks, int n, size_t *nbytes) {
    struct arena_block **order = malloc(2 * ((size_t)n + 1) * sizeof(struct arena_block *));
    if (!order) return status_no_memory("a memory plan", 2 * (size_t)n * sizeof(struct arena_block *));
    struct arena_block **placed = order + n;
    int nplaced = 0;
    size_t total = 0;
    for (int i = 0; i < n; i++) order[i] = &blocks[i];
    qsort(order, (size_t)n, sizeof(struct arena_block *), compare_size);
    for (int i = 0; i < n; i++) {
        struct arena_block *block = order[i];
        block->offset = 0;
        if (block->nbytes == 0) continue;
        block->offset = find_place(block, placed, nplaced);
        if (block->offset + rounded(block->nbytes) > total) total = block->offset + rounded(block->nbytes);
        int at = nplaced++;
        for (; at > 0 && placed[at - 1]->offset > block->offset; at--) placed[at] = placed[at - 1];
        placed[at] = block;
    }
    free(order);
    *nbytes = total;
    return SUCCESS;
}

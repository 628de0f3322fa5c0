#include "io/onnx/onnx_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)64 << 10)
#define ALIGN ((size_t)16)

struct block {
    struct block *next;
    size_t used, size; /* bytes behind this header */
    _Alignas(16) unsigned char bytes[];
};

struct onnx_memory {
    struct block *first;
};

status onnx_memory_create(struct onnx_memory **memory) {
    *memory = calloc(1, sizeof **memory);
    return *memory ? SUCCESS : status_no_memory("an ONNX graph", sizeof **memory);
}

void onnx_memory_destroy(struct onnx_memory **memory) {
    if (!*memory) return;
    for (struct block *block = (*memory)->first, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(*memory);
    *memory = NULL;
}

/* What does not fit into a block gets one of its own, behind the first. */
static struct block *add_block(struct onnx_memory *memory, size_t nbytes) {
    const size_t size = nbytes > BLOCK ? nbytes : BLOCK;
    struct block *block = calloc(1, sizeof *block + size);
    if (!block) return NULL;
    block->size = size;
    if (nbytes > BLOCK && memory->first) {
        block->next = memory->first->next;
        memory->first->next = block;
    } else {
        block->next = memory->first;
        memory->first = block;
    }
    return block;
}

void *onnx_memory_take(struct onnx_memory *memory, size_t count, size_t size) {
    size_t nbytes;
    if (__builtin_mul_overflow(count, size, &nbytes) || nbytes > SIZE_MAX / 2) return NULL;
    nbytes = (nbytes + ALIGN - 1) / ALIGN * ALIGN;
    struct block *block = memory->first;
    if (!block || block->size - block->used < nbytes) block = add_block(memory, nbytes);
    if (!block) return NULL;
    void *taken = block->bytes + block->used;
    block->used += nbytes;
    return taken;
}

char *onnx_memory_text(struct onnx_memory *memory, const char *text) {
    char *copy = onnx_memory_take(memory, strlen(text) + 1, 1);
    if (copy) strcpy(copy, text);
    return copy;
}

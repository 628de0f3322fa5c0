/* Places blocks of memory that live for a while each into one arena, so that blocks that do not live at the
 * same time share memory. */
#ifndef GODWIT_WORKER_ENGINES_ARENA_H
#define GODWIT_WORKER_ENGINES_ARENA_H

#include "shared/status.h"

#include <stddef.h>

struct arena_block {
    size_t nbytes;   /* 0: takes no place */
    int first, last; /* lives in steps first..last, both included */
    size_t offset;   /* result: a multiple of 64 */
};

/* Sets the offsets and the size of the arena in bytes. Largest first, each at the lowest place where it fits.
 */
status arena_plan(struct arena_block *blocks, int n, size_t *nbytes) STATUS_MUST_USE;

#endif

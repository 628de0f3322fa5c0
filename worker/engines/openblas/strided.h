/* Walks over arrays of one index space with a stride per axis each: 0 where an array is broadcast or reduced.
 */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_STRIDED_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_STRIDED_H

#include "shared/tensor.h"

#define STRIDED_ARRAYS 3

/* Axis 0 is the batch; the last is walked by the caller, the others by strided_next(). Rank is 2 or more. */
struct strided {
    int rank;
    int64_t dim[SHAPE_MAX_RANK + 1];
    int64_t stride[STRIDED_ARRAYS][SHAPE_MAX_RANK + 1];
};

/* The index space is `space`; arrays[i] is aligned to its right and has its dimensions or 1. False if one
 * does not. Neighbouring axes (not the batch) that all arrays walk alike become one. */
bool strided_make(const struct shape *space, const struct shape *const *arrays, int n,
                  struct strided *strided);

/* Where a walk over one sample is. Start: {0} with offsets at the sample. */
struct strided_at {
    int64_t index[SHAPE_MAX_RANK + 1];
    int64_t offset[STRIDED_ARRAYS];
};

static inline struct strided_at strided_begin(const struct strided *s, int64_t sample) {
    struct strided_at at = {.index = {0}};
    for (int i = 0; i < STRIDED_ARRAYS; i++) at.offset[i] = sample * s->stride[i][0];
    return at;
}

/* To the next row of the sample; false after the last. */
static inline bool strided_next(const struct strided *s, struct strided_at *at) {
    for (int axis = s->rank - 2; axis > 0; axis--) {
        for (int i = 0; i < STRIDED_ARRAYS; i++) at->offset[i] += s->stride[i][axis];
        if (++at->index[axis] < s->dim[axis]) return true;
        for (int i = 0; i < STRIDED_ARRAYS; i++) at->offset[i] -= s->stride[i][axis] * s->dim[axis];
        at->index[axis] = 0;
    }
    return false;
}

#endif

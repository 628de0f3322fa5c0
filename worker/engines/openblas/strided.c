#include "worker/engines/openblas/strided.h"

#include <string.h>

static bool set_strides(const struct shape *space, const struct shape *array, int64_t *stride) {
    int64_t step = 1;
    int skip = space->rank - array->rank;
    if (skip < 0) return false;
    for (int axis = space->rank - 1; axis >= 0; axis--) {
        stride[axis] = 0;
        if (axis < skip) continue;
        int64_t dim = array->dim[axis - skip];
        if (dim != 1 && dim != space->dim[axis]) return false;
        if (dim != 1) stride[axis] = step;
        step *= dim;
    }
    return true;
}

/* May axis b, which follows axis a, be walked as one with it? */
static bool mergeable(const struct strided *s, int a, int b) {
    for (int i = 0; i < STRIDED_ARRAYS; i++)
        if (s->stride[i][a] != s->stride[i][b] * s->dim[b]) return false;
    return true;
}

bool strided_make(const struct shape *space, const struct shape *const *arrays, int n,
                  struct strided *strided) {
    struct strided s = {.rank = space->rank};
    memcpy(s.dim, space->dim, (size_t)space->rank * sizeof *s.dim);
    for (int i = 0; i < n; i++)
        if (!set_strides(space, arrays[i], s.stride[i])) return false;

    struct strided *to = strided;
    memset(to, 0, sizeof *to);
    for (int axis = 0; axis < s.rank; axis++) {
        if (axis > 0 && s.dim[axis] == 1) continue;
        int last = to->rank - 1;
        bool merge = last >= 1;
        if (merge) {
            to->dim[last + 1] = s.dim[axis];
            for (int i = 0; i < STRIDED_ARRAYS; i++) to->stride[i][last + 1] = s.stride[i][axis];
            merge = mergeable(to, last, last + 1);
        }
        int into = merge ? last : to->rank++;
        to->dim[into] = merge ? to->dim[last] * s.dim[axis] : s.dim[axis];
        for (int i = 0; i < STRIDED_ARRAYS; i++) to->stride[i][into] = s.stride[i][axis];
    }
    if (to->rank < 2) { /* one element a sample */
        to->dim[1] = 1;
        for (int i = 0; i < STRIDED_ARRAYS; i++) to->stride[i][1] = 0;
        to->rank = 2;
    }
    return true;
}

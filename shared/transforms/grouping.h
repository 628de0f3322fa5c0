/* Values of a tensor that have a statistic together: along one axis, or at one position on it. Private to
 * shared/transforms/. */
#ifndef GODWIT_SHARED_TRANSFORMS_GROUPING_H
#define GODWIT_SHARED_TRANSFORMS_GROUPING_H

#include "shared/transform.h"

/* Which numbers belong together: a tensor's values are grouped. */
struct grouping {
    int64_t inner, size, outer; /* values after the axis, on it, before it */
    enum {
        GROUP_ALL,   /* one group */
        GROUP_ALONG, /* the values along the axis: outer * inner groups */
        GROUP_BESIDE /* all values at one position on the axis: size groups */
    } kind;
};

struct grouping grouping_of(const struct shape *shape, int axis, int kind);
int64_t grouping_count(const struct grouping *grouping);
/* Values that follow one another, the k-th of group `first + k * step`. */
struct grouping_run {
    int64_t first, step, length;
};
/* From a position in row-major order on, `most` values at most. */
struct grouping_run grouping_run_at(const struct grouping *grouping, int64_t position, int64_t most);
/* The group of the value at a position in row-major order. */
int64_t grouping_at(const struct grouping *grouping, int64_t position);

#endif

/* Views: an array's elements walked in another order than they lie in memory, for operations that only move
 * data. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_VIEW_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_VIEW_H

#include "shared/tensor.h"

/* Element (i0,i1,...) lies at base + i0*stride[0] + i1*stride[1] + ...; strides may be negative. */
struct view {
    int rank; /* 1 or more */
    int64_t dim[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK];
    int64_t base;
};

/* Leaves out axes of length 1 and makes one of neighbouring axes that lie one after the other in memory. */
void view_simplify(struct view *view);

/* Copies the elements of the view from `array` to `dense`, row-major, or back. The view is simplified and has
 * no element twice. */
void view_gather(const struct view *view, const float *array, float *dense, int threads);
void view_scatter(const struct view *view, const float *dense, float *array, int threads);

#endif

#include "worker/engines/openblas/view.h"

#include "worker/engines/openblas/kernel.h"

#include <string.h>

#define TILE 16 /* floats of a cache line */

void view_simplify(struct view *view) {
    struct view v = {.base = view->base};
    for (int i = 0; i < view->rank; i++) {
        if (view->dim[i] == 1) continue;
        const int last = v.rank - 1;
        if (last >= 0 && v.stride[last] == view->stride[i] * view->dim[i]) {
            v.dim[last] *= view->dim[i];
            v.stride[last] = view->stride[i];
            continue;
        }
        v.dim[v.rank] = view->dim[i];
        v.stride[v.rank++] = view->stride[i];
    }
    if (v.rank == 0) {
        v.dim[0] = v.stride[0] = 1;
        v.rank = 1;
    }
    *view = v;
}

static int64_t size_of(int64_t v) {
    return v < 0 ? -v : v;
}

/* The axis along which the array's elements lie closest, if another one than the last; else -1. */
static int closest_axis(const struct view *view) {
    int best = view->rank - 1;
    for (int i = 0; i < view->rank; i++)
        if (size_of(view->stride[i]) < size_of(view->stride[best])) best = i;
    return best == view->rank - 1 ? -1 : best;
}

/* A walk over some axes of the view, the last fastest. */
struct walk {
    int rank;
    int64_t dim[SHAPE_MAX_RANK], at_array[SHAPE_MAX_RANK], at_dense[SHAPE_MAX_RANK]; /* strides */
    int64_t index[SHAPE_MAX_RANK];
    int64_t array, dense; /* where it is */
};

/* To place `number` of the walk. */
static void walk_to(struct walk *w, int64_t number) {
    for (int i = w->rank - 1; i >= 0; i--) {
        w->index[i] = number % w->dim[i];
        number /= w->dim[i];
        w->array += w->index[i] * w->at_array[i];
        w->dense += w->index[i] * w->at_dense[i];
    }
}

static void walk_next(struct walk *w) {
    for (int i = w->rank - 1; i >= 0; i--) {
        w->array += w->at_array[i];
        w->dense += w->at_dense[i];
        if (++w->index[i] < w->dim[i]) return;
        w->array -= w->at_array[i] * w->dim[i];
        w->dense -= w->at_dense[i] * w->dim[i];
        w->index[i] = 0;
    }
}

/* All axes but the last and `other` (-1: none). */
static struct walk walk_make(const struct view *view, int other, int64_t *places) {
    struct walk w = {.array = view->base};
    int64_t dense[SHAPE_MAX_RANK], step = 1;
    for (int i = view->rank - 1; i >= 0; i--) {
        dense[i] = step;
        step *= view->dim[i];
    }
    *places = 1;
    for (int i = 0; i < view->rank - 1; i++) {
        if (i == other) continue;
        w.dim[w.rank] = view->dim[i];
        w.at_array[w.rank] = view->stride[i];
        w.at_dense[w.rank++] = dense[i];
        *places *= view->dim[i];
    }
    return w;
}

/* n elements, `step` apart in the array. */
static inline void copy_row(bool gather, float *array, int64_t step, float *dense, int64_t n) {
    if (step == 1 && n >= TILE) {
        memcpy(gather ? dense : array, gather ? array : dense, (size_t)n * sizeof *dense);
    } else if (gather) {
        for (int64_t i = 0; i < n; i++) dense[i] = array[i * step];
    } else {
        for (int64_t i = 0; i < n; i++) array[i * step] = dense[i];
    }
}

/* Rows along the last axis. */
static void copy_rows(const struct view *view, bool gather, float *array, float *dense, int threads) {
    int64_t rows;
    const struct walk start = walk_make(view, -1, &rows);
    const int64_t n = view->dim[view->rank - 1], step = view->stride[view->rank - 1];
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (rows * n > 16384)
    for (int slot = 0; slot < threads; slot++) {
        int64_t first, last;
        slot_range(rows, threads, slot, &first, &last);
        struct walk w = start;
        walk_to(&w, first);
        for (int64_t row = first; row < last; row++) {
            copy_row(gather, array + w.array, step, dense + w.dense, n);
            walk_next(&w);
        }
    }
}

/* (rows, n), `near` apart along the rows and `far` along n in the array, `width` along the rows when dense.
 */
static inline void copy_tile(bool gather, float *restrict array, int64_t near, int64_t far,
                             float *restrict dense, int64_t width, int64_t rows, int64_t n) {
    if (gather)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) dense[i * width + j] = array[i * near + j * far];
    else
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < rows; i++) array[i * near + j * far] = dense[i * width + j];
}

/* Square tiles of the last axis and the one along which the array's elements lie closest: in either order,
 * whole cache lines are read and written. */
static void copy_tiles(const struct view *view, int axis, bool gather, float *array, float *dense,
                       int threads) {
    int64_t places, width = 1;
    const struct walk start = walk_make(view, axis, &places);
    for (int i = axis + 1; i < view->rank; i++) width *= view->dim[i];
    const int64_t rows = view->dim[axis], near = view->stride[axis];
    const int64_t n = view->dim[view->rank - 1], far = view->stride[view->rank - 1];
    const int64_t bands = (rows + TILE - 1) / TILE, units = places * bands;
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (places * rows * n > 16384)
    for (int slot = 0; slot < threads; slot++) {
        int64_t first, last;
        slot_range(units, threads, slot, &first, &last);
        for (int64_t unit = first; unit < last; unit++) {
            const int64_t row = unit % bands * TILE, height = rows - row < TILE ? rows - row : TILE;
            struct walk w = start;
            walk_to(&w, unit / bands);
            float *from = array + w.array + row * near, *to = dense + w.dense + row * width;
            int64_t j = 0;
            for (; j + TILE <= n && height == TILE; j += TILE)
                copy_tile(gather, from + j * far, near, far, to + j, width, TILE, TILE);
            for (; j < n; j += TILE)
                copy_tile(gather, from + j * far, near, far, to + j, width, height,
                          n - j < TILE ? n - j : TILE);
        }
    }
}

static void copy(const struct view *view, bool gather, float *array, float *dense, int threads) {
    const int axis = closest_axis(view);
    if (axis < 0) copy_rows(view, gather, array, dense, threads);
    else copy_tiles(view, axis, gather, array, dense, threads);
}

void view_gather(const struct view *view, const float *array, float *dense, int threads) {
    copy(view, true, (float *)array, dense, threads);
}

void view_scatter(const struct view *view, const float *dense, float *array, int threads) {
    copy(view, false, array, (float *)dense, threads);
}

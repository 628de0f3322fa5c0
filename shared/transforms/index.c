/* x[:, 0:8, k0, [3 1]]: parts along every axis. */
#include "shared/transform.h"

#include <inttypes.h>
#include <stdlib.h>

#define PIECE_VALUES ((int64_t)1 << 16)

static status check_axis(const struct plan *plan, const struct axis_index *index, int axis, int64_t size) {
    switch (index->kind) {
    case INDEX_ALL:
        return SUCCESS;
    case INDEX_RANGE:
        if (index->first < 0 || index->end > size || index->first >= index->end || index->step < 1)
            return status_fail(
                STATUS_DATA, "%" PRId64 ":%" PRId64 " is no part of axis %d, which has %" PRId64 " positions",
                index->first, index->end, axis, size);
        return SUCCESS;
    case INDEX_LIST:
        for (int64_t i = 0; i < index->n; i++)
            if (index->list[i] < 0 || index->list[i] >= size)
                return status_fail(STATUS_DATA, "position %" PRId64 " is beyond axis %d, which has %" PRId64,
                                   index->list[i], axis, size);
        return SUCCESS;
    case INDEX_KEEP:
        if (plan->keep[index->keep].of != size)
            return status_fail(STATUS_DATA, "%s keeps of %" PRId64 " positions, but axis %d has %" PRId64,
                               plan->keep[index->keep].name, plan->keep[index->keep].of, axis, size);
        return SUCCESS;
    }
    return SUCCESS;
}

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    expr->shape = expr->arg[0]->shape;
    for (int i = 0; i < expr->shape.rank; i++) {
        status error = check_axis(plan, &expr->index[i], i, expr->shape.dim[i]);
        if (error) {
            *at = expr->index[i].at;
            return error;
        }
        expr->shape.dim[i] = axis_index_count(plan, &expr->index[i], expr->shape.dim[i]);
    }
    return SUCCESS;
}

/* The row of the argument that row `row` of the value comes from. */
static int64_t source_row(const struct plan *plan, const struct expr *expr, int64_t row) {
    const struct shape *to = &expr->shape, *from = &expr->arg[0]->shape;
    int64_t result = 0, stride = 1;
    for (int i = to->rank - 2; i >= 0; i--) {
        result += axis_index_at(plan, &expr->index[i], row % to->dim[i]) * stride;
        row /= to->dim[i];
        stride *= from->dim[i];
    }
    return result;
}

/* Rows of the argument that are read at once: what fits into a cache, or one. */
static int64_t rows_at_once(int64_t columns) {
    return columns < PIECE_VALUES ? PIECE_VALUES / (columns ? columns : 1) : 1;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    const struct plan *plan = evaluation_plan(evaluation);
    int64_t nrows, columns, from_rows, from_columns;
    shape_rows(&expr->shape, &nrows, &columns);
    shape_rows(&expr->arg[0]->shape, &from_rows, &from_columns);
    const struct axis_index *last = expr->shape.rank ? &expr->index[expr->shape.rank - 1] : NULL;
    int64_t most = rows_at_once(from_columns) < n ? rows_at_once(from_columns) : n;
    float *run = malloc(((size_t)(most * from_columns) + 1) * sizeof *run);
    if (!run) return status_no_memory("a chunk", (size_t)(most * from_columns) * sizeof *run);
    status error = SUCCESS;
    for (int64_t r = 0; r < n && !error;) { /* rows that lie together are read together */
        int64_t from = source_row(plan, expr, first + r), length = 1;
        while (length < most && r + length < n && source_row(plan, expr, first + r + length) == from + length)
            length++;
        error = evaluation_rows(evaluation, expr->arg[0], from, length, run);
        for (int64_t i = 0; i < length && !error; i++) {
            float *to = out + (r + i) * columns;
            const float *row = run + i * from_columns;
            for (int64_t c = 0; c < columns; c++) to[c] = row[last ? axis_index_at(plan, last, c) : c];
        }
        r += length;
    }
    free(run);
    return error;
}

static int from_axis(const struct expr *expr, int axis) {
    (void)expr;
    return axis;
}

const struct transform transform_index = {
    .name = "index",
    .usage = "x[:, 0:8, k0, [3 1]]",
    .doc = "parts of x along each axis: all of it; a range, 0:8 or 0:8:2; a keep list; positions",
    .min_args = 1,
    .max_args = 1,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

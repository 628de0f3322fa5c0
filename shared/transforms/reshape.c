/* reshape(x, (3, 4)): the same values in the same order. */
#include "shared/transform.h"

#include <stdlib.h>
#include <string.h>

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    int64_t before, after;
    (void)plan;
    *at = expr->operand[0].at;
    expr->shape = expr->operand[0].u.shape;
    STATUS_TRY(shape_count(&expr->arg[0]->shape, &before));
    STATUS_TRY(shape_count(&expr->shape, &after));
    if (before == after) return SUCCESS;
    return status_fail(STATUS_DATA, "%s has not as many values as %s", shape_format(&expr->shape, a),
                       shape_format(&expr->arg[0]->shape, b));
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    int64_t nrows, columns, from_rows, from_columns;
    float *x = NULL;
    shape_rows(&expr->shape, &nrows, &columns);
    shape_rows(&expr->arg[0]->shape, &from_rows, &from_columns);
    if (columns == 0 || from_columns == 0) return SUCCESS;
    int64_t begin = first * columns / from_columns,
            end = ((first + n) * columns + from_columns - 1) / from_columns;
    STATUS_TRY(memory_alloc("a chunk", (size_t)((end - begin) * from_columns), sizeof *x, (void **)&x));
    status error = evaluation_rows(evaluation, expr->arg[0], begin, end - begin, x);
    if (!error) memcpy(out, x + (first * columns - begin * from_columns), (size_t)(n * columns) * sizeof *x);
    free(x);
    return error;
}

/* The axis of the same size with as many values behind it. */
static int from_axis(const struct expr *expr, int axis) {
    const struct shape *to = &expr->shape, *from = &expr->arg[0]->shape;
    int64_t behind = 1, before = 1;
    for (int i = axis + 1; i < to->rank; i++) behind *= to->dim[i];
    for (int i = from->rank - 1; i >= 0; before *= from->dim[i--])
        if (before == behind && from->dim[i] == to->dim[axis]) return i;
    return -1;
}

const struct transform transform_reshape = {
    .name = "reshape",
    .usage = "reshape(x, (9, 32))",
    .doc = "the values of x, in their order, in another shape",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_SHAPE}},
    .noperands = 1,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

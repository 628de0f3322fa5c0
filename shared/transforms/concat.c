/* concat(x, y, axis 0): one after the other along an axis. */
#include "shared/transform.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    int axis = (int)expr->operand[0].u.i;
    (void)plan;
    expr->shape = expr->arg[0]->shape;
    for (int k = 1; k < expr->nargs; k++) {
        struct shape next = expr->arg[k]->shape, same = next;
        char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
        if (same.rank == expr->shape.rank) same.dim[axis] = expr->shape.dim[axis];
        if (!shape_equal(&same, &expr->shape)) {
            *at = expr->arg[k]->at;
            return status_fail(STATUS_DATA, "%s does not go with %s along axis %d", shape_format(&next, a),
                               shape_format(&expr->arg[0]->shape, b), axis);
        }
        expr->shape.dim[axis] += next.dim[axis];
    }
    return SUCCESS;
}

/* Side by side. */
static status columns_of_all(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                             float *out) {
    int64_t nrows, columns, at = 0, part;
    shape_rows(&expr->shape, &nrows, &columns);
    for (int k = 0; k < expr->nargs; k++, at += part) {
        float *x = NULL;
        shape_rows(&expr->arg[k]->shape, &nrows, &part);
        STATUS_TRY(memory_alloc("a chunk", (size_t)(n * part), sizeof *x, (void **)&x));
        status error = evaluation_rows(evaluation, expr->arg[k], first, n, x);
        for (int64_t r = 0; r < n && !error; r++)
            memcpy(out + r * columns + at, x + r * part, (size_t)part * sizeof *x);
        free(x);
        STATUS_TRY(error);
    }
    return SUCCESS;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    int axis = (int)expr->operand[0].u.i;
    if (axis == expr->shape.rank - 1) return columns_of_all(evaluation, expr, first, n, out);
    int64_t nrows, columns, inner = 1, whole;
    shape_rows(&expr->shape, &nrows, &columns);
    for (int i = axis + 1; i < expr->shape.rank - 1; i++) inner *= expr->shape.dim[i];
    whole = expr->shape.dim[axis] * inner; /* rows of one position on the axes before */
    for (int64_t r = 0; r < n;) {
        int64_t outer = (first + r) / whole, at = (first + r) % whole, part = 0;
        int k = 0;
        for (; at >= (part = expr->arg[k]->shape.dim[axis] * inner); k++) at -= part;
        int64_t length = part - at < n - r ? part - at : n - r;
        STATUS_TRY(evaluation_rows(evaluation, expr->arg[k], outer * part + at, length, out + r * columns));
        r += length;
    }
    return SUCCESS;
}

static int from_axis(const struct expr *expr, int axis) {
    return expr->nargs == 1 || axis != expr->operand[0].u.i ? axis : -1;
}

const struct transform transform_concat = {
    .name = "concat",
    .usage = "concat(x, y, axis 0)",
    .doc = "its arguments one after the other along an axis",
    .min_args = 1,
    .max_args = -1,
    .operand = {{.name = "axis", .type = OPERAND_AXIS}},
    .noperands = 1,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

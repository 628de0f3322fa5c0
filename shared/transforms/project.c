/* project(x, 24): x with other channels on its last axis: as many combinations of them. Fewer are those in
 * which x, seen as rows of its last axis, is largest (its leading right singular vectors); of more, the first
 * are the channels themselves, the others differences of two of them, which an activation makes something new
 * of. A refit takes instead the combinations in which the source's outputs vary most. */
#include "shared/projection.h"
#include "shared/transforms/singular.h"

#include <stdlib.h>

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    struct shape shape = expr->arg[0]->shape;
    int64_t rows, columns;
    (void)plan;
    shape_rows(&shape, &rows, &columns);
    if (shape.rank < 1 || expr->operand[0].u.i < 1) {
        *at = expr->operand[0].at;
        return status_fail(STATUS_DATA, "a projection is on one channel at least");
    }
    shape.dim[shape.rank - 1] = expr->operand[0].u.i;
    expr->shape = shape;
    return SUCCESS;
}

/* x V: u s */
static status fewer(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t count,
                    float *out) {
    int64_t m, n, columns = expr->operand[0].u.i;
    const double *u;
    shape_rows(&expr->arg[0]->shape, &m, &n);
    int64_t k = m < n ? m : n;
    STATUS_TRY(singular_vectors(evaluation, expr->arg[0], &u));
    for (int64_t r = 0; r < count; r++)
        for (int64_t c = 0; c < columns; c++)
            out[r * columns + c] = c < k ? (float)(u[(first + r) * k + c] * u[m * k + c]) : 0;
    return SUCCESS;
}

static status more(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t count,
                   float *out) {
    int64_t m, n, columns = expr->operand[0].u.i;
    float *x = NULL;
    shape_rows(&expr->arg[0]->shape, &m, &n);
    STATUS_TRY(memory_alloc("a chunk", (size_t)(count * n), sizeof *x, (void **)&x));
    status error = evaluation_rows(evaluation, expr->arg[0], first, count, x);
    for (int64_t r = 0; r < count && !error; r++) projection_widen(n, x + r * n, columns, out + r * columns);
    free(x);
    return error;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t count,
                   float *out) {
    int64_t m, n;
    shape_rows(&expr->arg[0]->shape, &m, &n);
    return (expr->operand[0].u.i < n ? fewer : more)(evaluation, expr, first, count, out);
}

static int from_axis(const struct expr *expr, int axis) {
    return axis < expr->shape.rank - 1 ? axis : -1;
}

const struct transform transform_project = {
    .name = "project",
    .usage = "project(x, 24)",
    .doc = "so many combinations of the channels on the last axis: those in which x is largest, or, of more "
           "than there are, the channels and differences of them; under refit those in which the source's "
           "outputs vary most",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_INTEGER}},
    .noperands = 1,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

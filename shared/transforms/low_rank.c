/* low_rank(x, 16): the nearest matrix of that rank, of a tensor seen as rows of its last axis (Eckart and
 * Young 1936); or one of its factors, left (m, 16) and right (16, n), which share the singular values alike.
 */
#include "shared/transform.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { BOTH, LEFT, RIGHT };

static int64_t part_of(const struct expr *expr) {
    return expr->operand[1].present ? expr->operand[1].u.i : BOTH;
}

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    int64_t m, n, rank = expr->operand[0].u.i;
    struct shape shape = expr->arg[0]->shape;
    (void)plan;
    shape_rows(&shape, &m, &n);
    if (rank < 1 || rank > m || rank > n) {
        *at = expr->operand[0].at;
        return status_fail(STATUS_DATA, "a matrix of %" PRId64 " by %" PRId64 " has no rank %" PRId64, m, n,
                           rank);
    }
    if (part_of(expr) == LEFT) shape.dim[shape.rank - 1] = rank;
    expr->shape = part_of(expr) == RIGHT ? SHAPE(rank, n) : shape;
    return SUCCESS;
}

/* values: left (m, rank), then right (rank, n). */
static status fill(struct evaluation *evaluation, const struct expr *expr, double *values) {
    const struct evaluation_sources *sources = evaluation_sources(evaluation);
    int64_t m, n, rank = expr->operand[0].u.i;
    const float *x;
    double *a = NULL;
    shape_rows(&expr->arg[0]->shape, &m, &n);
    int64_t k = m < n ? m : n;
    STATUS_TRY(evaluation_whole(evaluation, expr->arg[0], &x));
    STATUS_TRY(memory_alloc("a decomposition", (size_t)(m * n + m * k + k + k * n), sizeof *a, (void **)&a));
    double *u = a + m * n, *s = u + m * k, *vt = s + k, *right = values + m * rank;
    for (int64_t i = 0; i < m * n; i++) a[i] = x[i];
    status error = sources->svd(sources->context, m, n, a, u, s, vt);
    for (int64_t j = 0; j < rank && !error; j++) {
        double root = sqrt(s[j]);
        for (int64_t i = 0; i < m; i++) values[i * rank + j] = u[i * k + j] * root;
        for (int64_t i = 0; i < n; i++) right[j * n + i] = vt[j * n + i] * root;
    }
    free(a);
    return error;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t count,
                   float *out) {
    int64_t m, n, rank = expr->operand[0].u.i, part = part_of(expr);
    const double *left;
    shape_rows(&expr->arg[0]->shape, &m, &n);
    STATUS_TRY(evaluation_keep(evaluation, expr, NULL, (m + n) * rank, fill, &left));
    const double *right = left + m * rank;
    if (part != BOTH) {
        int64_t columns = part == LEFT ? rank : n;
        const double *from = (part == LEFT ? left : right) + first * columns;
        for (int64_t i = 0; i < count * columns; i++) out[i] = (float)from[i];
        return SUCCESS;
    }
    for (int64_t r = 0; r < count; r++)
        for (int64_t c = 0; c < n; c++) {
            double sum = 0;
            for (int64_t j = 0; j < rank; j++) sum += left[(first + r) * rank + j] * right[j * n + c];
            out[r * n + c] = (float)sum;
        }
    return SUCCESS;
}

static int from_axis(const struct expr *expr, int axis) {
    int last = expr->arg[0]->shape.rank - 1;
    if (part_of(expr) == RIGHT) return axis == 1 ? last : -1;
    return part_of(expr) == BOTH || axis != last ? axis : -1;
}

const struct transform transform_low_rank = {
    .name = "low_rank",
    .usage = "low_rank(x, 16, part left)",
    .doc = "the matrix of this rank nearest to x, seen as rows of its last axis; or its left or right factor",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_INTEGER},
                {.name = "part", .type = OPERAND_WORD, .optional = true, .choices = "both|left|right"}},
    .noperands = 2,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

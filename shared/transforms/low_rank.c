/* low_rank(x, 16): the nearest matrix of that rank, of a tensor seen as rows of its last axis (Eckart and
 * Young 1936); or one of its factors, left (m, 16) and right (16, n), which share the singular values alike.
 */
#include "shared/transforms/singular.h"

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

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t count,
                   float *out) {
    int64_t m, n, rank = expr->operand[0].u.i, part = part_of(expr);
    const double *u;
    shape_rows(&expr->arg[0]->shape, &m, &n);
    int64_t k = m < n ? m : n;
    STATUS_TRY(singular_vectors(evaluation, expr->arg[0], &u));
    const double *s = u + m * k, *vt = s + k;
    int64_t columns = part == LEFT ? rank : n;
    for (int64_t r = 0; r < count; r++)
        for (int64_t c = 0; c < columns; c++) {
            double sum = 0;
            if (part == LEFT) sum = u[(first + r) * k + c] * sqrt(s[c]);
            else if (part == RIGHT) sum = vt[(first + r) * n + c] * sqrt(s[first + r]);
            else
                for (int64_t j = 0; j < rank; j++) sum += u[(first + r) * k + j] * s[j] * vt[j * n + c];
            out[r * columns + c] = (float)sum;
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

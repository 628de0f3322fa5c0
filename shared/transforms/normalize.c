/* normalize(x, mean, axis 0): the mean taken off, or values divided by their standard deviation or by the
 * largest of them. */
#include "shared/transforms/grouping.h"

#include <math.h>

enum { MEAN, STD, ABSMAX };

static struct grouping grouping(const struct expr *expr) {
    const struct operand *axis = &expr->operand[1];
    return grouping_of(&expr->shape, axis->present ? (int)axis->u.i : 0,
                       axis->present ? GROUP_ALONG : GROUP_ALL);
}

struct sums {
    struct grouping grouping;
    int64_t columns;
    double *number, *sum, *square, *largest; /* [groups] */
};

static void add(void *context, int64_t first, int64_t n, const float *rows) {
    struct sums *s = context;
    for (int64_t i = 0; i < n * s->columns; i++) {
        int64_t g = grouping_at(&s->grouping, first * s->columns + i);
        s->number[g]++;
        s->sum[g] += rows[i];
        s->square[g] += (double)rows[i] * rows[i];
        if (fabs((double)rows[i]) > s->largest[g]) s->largest[g] = fabs((double)rows[i]);
    }
}

/* values: number, sum, sum of squares, largest, [groups] each; then the number is replaced by the statistic.
 */
static status fill(struct evaluation *evaluation, const struct expr *expr, double *values) {
    struct sums s = {.grouping = grouping(expr)};
    int64_t nrows, groups = grouping_count(&s.grouping);
    shape_rows(&expr->shape, &nrows, &s.columns);
    s.number = values;
    s.sum = values + groups;
    s.square = s.sum + groups;
    s.largest = s.square + groups;
    STATUS_TRY(evaluation_each(evaluation, expr->arg[0], add, &s));
    for (int64_t g = 0; g < groups; g++) {
        double mean = s.sum[g] / s.number[g], variance = s.square[g] / s.number[g] - mean * mean;
        values[g] = expr->operand[0].u.i == MEAN  ? mean
                    : expr->operand[0].u.i == STD ? sqrt(variance > 0 ? variance : 0)
                                                  : s.largest[g];
    }
    return SUCCESS;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    struct grouping g = grouping(expr);
    const double *values;
    int64_t nrows, columns;
    shape_rows(&expr->shape, &nrows, &columns);
    STATUS_TRY(evaluation_keep(evaluation, expr, NULL, 4 * grouping_count(&g), fill, &values));
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    for (int64_t i = 0; i < n * columns; i++) {
        double v = values[grouping_at(&g, first * columns + i)];
        if (expr->operand[0].u.i == MEAN) out[i] = (float)(out[i] - v);
        else if (v > 0) out[i] = (float)(out[i] / v); /* where all are the same they stay */
    }
    return SUCCESS;
}

const struct transform transform_normalize = {
    .name = "normalize",
    .usage = "normalize(x, mean, axis 0)",
    .doc = "x less its mean, or divided by its standard deviation (std) or its largest absolute value "
           "(absmax), along an axis or of all values",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_WORD, .choices = "mean|std|absmax"},
                {.name = "axis", .type = OPERAND_AXIS, .optional = true}},
    .noperands = 2,
    .rows = rows,
};

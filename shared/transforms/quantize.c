/* quantize(x, int8, axis 3): values rounded to those that eight bits hold, each channel with a scale of its
 * own, or with a scale and a zero point: int8          round(x / s) * s,             s = largest |x| / 127
 *   int8_affine   (round(x / s) + z) is -128 to 127, s = (largest - smallest) / 255, and zero is exact
 * (Jacob et al. 2018, section 2.1). */
#include "shared/transforms/grouping.h"

#include <math.h>

enum { INT8, INT8_AFFINE };

static struct grouping grouping(const struct expr *expr) {
    const struct operand *axis = &expr->operand[1];
    return grouping_of(&expr->shape, axis->present ? (int)axis->u.i : 0,
                       axis->present ? GROUP_BESIDE : GROUP_ALL);
}

struct extremes {
    struct grouping grouping;
    int64_t columns;
    double *smallest, *largest; /* [groups], with zero among the values */
};

static void look(void *context, int64_t first, int64_t n, const float *rows) {
    struct extremes *e = context;
    for (int64_t i = 0; i < n * e->columns; i++) {
        int64_t g = grouping_at(&e->grouping, first * e->columns + i);
        if (rows[i] < e->smallest[g]) e->smallest[g] = rows[i];
        if (rows[i] > e->largest[g]) e->largest[g] = rows[i];
    }
}

/* values: scale, zero point, [groups] each. */
static status fill(struct evaluation *evaluation, const struct expr *expr, double *values) {
    struct extremes e = {.grouping = grouping(expr)};
    int64_t nrows, groups = grouping_count(&e.grouping);
    shape_rows(&expr->shape, &nrows, &e.columns);
    e.smallest = values;
    e.largest = values + groups;
    STATUS_TRY(evaluation_each(evaluation, expr->arg[0], look, &e));
    for (int64_t g = 0; g < groups; g++) {
        double low = values[g], high = values[groups + g];
        bool affine = expr->operand[0].u.i == INT8_AFFINE;
        double scale = affine ? (high - low) / 255 : fmax(high, -low) / 127;
        values[g] = scale;
        values[groups + g] = affine && scale > 0 ? rint(-128 - low / scale) : 0;
    }
    return SUCCESS;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    struct grouping g = grouping(expr);
    const double *values;
    int64_t nrows, columns, groups = grouping_count(&g);
    shape_rows(&expr->shape, &nrows, &columns);
    STATUS_TRY(evaluation_keep(evaluation, expr, NULL, 2 * groups, fill, &values));
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    double lowest = expr->operand[0].u.i == INT8 ? -127 : -128;
    for (int64_t i = 0; i < n * columns; i++) {
        int64_t at = grouping_at(&g, first * columns + i);
        double scale = values[at], zero = values[groups + at];
        if (scale > 0)
            out[i] = (float)((fmin(fmax(rint(out[i] / scale) + zero, lowest), 127) - zero) * scale);
    }
    return SUCCESS;
}

const struct transform transform_quantize = {
    .name = "quantize",
    .usage = "quantize(x, int8, axis 3)",
    .doc = "every value of x rounded to a multiple of a scale that eight bits hold: int8 around zero, "
           "int8_affine with a zero point. A scale for each position on the axis, or one for all",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_WORD, .choices = "int8|int8_affine"},
                {.name = "axis", .type = OPERAND_AXIS, .optional = true}},
    .noperands = 2,
    .finishes = true,
    .rows = rows,
};

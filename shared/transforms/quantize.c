/* quantize(x, int8, axis 3): values rounded to those that eight bits hold, each channel with a scale of its
 * own, or with a scale and a zero point (Jacob et al. 2018, section 2.1):
 *   int8          round(x / s) * s,              s = largest |x| / 127
 *   int8_affine   (round(x / s) + z) is -128 to 127, s = (largest - smallest) / 255, and zero is exact
 *   int4          round(x / s) * s,              s = largest |x| / 7
 * With "rounding gptq" that is what is done where there are no samples; worker/gptq.h does it with them. */
#include "shared/rounding.h"
#include "shared/transforms/grouping.h"

#include <stdlib.h>

enum { INT8, INT8_AFFINE, INT4 };
enum { NEAREST, GPTQ };

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
    struct grouping_run run;
    for (int64_t i = 0; i < n * e->columns; i += run.length) {
        run = grouping_run_at(&e->grouping, first * e->columns + i, n * e->columns - i);
        for (int64_t k = 0, g = run.first; k < run.length; k++, g += run.step) {
            double x = rows[i + k];
            e->smallest[g] = x < e->smallest[g] ? x : e->smallest[g];
            e->largest[g] = x > e->largest[g] ? x : e->largest[g];
        }
    }
}

/* For values from low (at most 0) to high (at least 0). */
static struct rounding rounding_for(const struct expr *expr, double low, double high) {
    if (expr->operand[0].u.i == INT8_AFFINE) {
        double scale = (high - low) / 255;
        return (struct rounding){scale, scale > 0 ? rint(-128 - low / scale) : 0, -128, 127};
    }
    double most = expr->operand[0].u.i == INT4 ? 7 : 127;
    return (struct rounding){fmax(high, -low) / most, 0, -most, most};
}

/* values: of each group the smallest and the largest, which become its scale and zero. */
static status fill(struct evaluation *evaluation, const struct expr *expr, double *values) {
    struct extremes e = {.grouping = grouping(expr)};
    int64_t nrows;
    shape_rows(&expr->shape, &nrows, &e.columns);
    e.smallest = values;
    int64_t groups = grouping_count(&e.grouping);
    e.largest = values + groups;
    STATUS_TRY(evaluation_each(evaluation, expr->arg[0], look, &e));
    for (int64_t g = 0; g < groups; g++) {
        struct rounding r = rounding_for(expr, e.smallest[g], e.largest[g]);
        e.smallest[g] = r.scale;
        e.largest[g] = r.zero;
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
    struct rounding r = rounding_for(expr, 0, 0); /* its limits */
    struct grouping_run run;
    for (int64_t i = 0; i < n * columns; i += run.length) {
        run = grouping_run_at(&g, first * columns + i, n * columns - i);
        for (int64_t k = 0, at = run.first; k < run.length; k++, at += run.step) {
            r.scale = values[at];
            r.zero = values[groups + at];
            out[i + k] = (float)rounding_apply(&r, out[i + k]);
        }
    }
    return SUCCESS;
}

bool rounding_minds_inputs(const struct expr *expr) {
    return expr->transform == &transform_quantize && expr->operand[2].present && expr->operand[2].u.i == GPTQ;
}

int rounding_group_at(const struct expr *expr, int64_t position) {
    struct grouping g = grouping(expr);
    return (int)grouping_at(&g, position);
}

status rounding_groups(const struct expr *expr, const float *x, int *n, struct rounding **rounding) {
    struct extremes e = {.grouping = grouping(expr)};
    int64_t groups = grouping_count(&e.grouping), nrows;
    double *values = NULL;
    *rounding = NULL;
    STATUS_TRY(memory_alloc("scales", 2 * (size_t)groups, sizeof *values, (void **)&values));
    status error = memory_alloc("scales", (size_t)groups, sizeof **rounding, (void **)rounding);
    e.smallest = values;
    e.largest = values + groups;
    shape_rows(&expr->shape, &nrows, &e.columns);
    if (!error) look(&e, 0, nrows, x);
    for (int64_t g = 0; g < groups && !error; g++)
        (*rounding)[g] = rounding_for(expr, values[g], values[groups + g]);
    *n = (int)groups;
    free(values);
    return error;
}

const struct transform transform_quantize = {
    .name = "quantize",
    .usage = "quantize(x, int8, axis 3, rounding gptq)",
    .doc = "every value of x rounded to a multiple of a scale that eight bits hold: int8 around zero, "
           "int8_affine with a zero point; or four, int4. A scale for each position on the axis, or one for "
           "all. Rounding is to the nearest, or by gptq: so that the layer's outputs change least, on "
           "calibration samples",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_WORD, .choices = "int8|int8_affine|int4"},
                {.name = "axis", .type = OPERAND_AXIS, .optional = true},
                {.name = "rounding", .type = OPERAND_WORD, .optional = true, .choices = "nearest|gptq"}},
    .noperands = 3,
    .finishes = true,
    .rows = rows,
};

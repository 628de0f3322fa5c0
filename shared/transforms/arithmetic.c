/* scale(x, 0.5) and offset(x, 1): every value times, or plus, a number. */
#include "shared/transform.h"

static int64_t count_of(const struct expr *expr, int64_t n) {
    int64_t nrows, columns;
    shape_rows(&expr->shape, &nrows, &columns);
    return n * columns;
}

static status scale_rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                         float *out) {
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    for (int64_t i = 0, count = count_of(expr, n); i < count; i++)
        out[i] = (float)(out[i] * expr->operand[0].u.f);
    return SUCCESS;
}

static status offset_rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                          float *out) {
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    for (int64_t i = 0, count = count_of(expr, n); i < count; i++)
        out[i] = (float)(out[i] + expr->operand[0].u.f);
    return SUCCESS;
}

const struct transform transform_scale = {
    .name = "scale",
    .usage = "scale(x, 0.5)",
    .doc = "every value of x times a number",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_NUMBER}},
    .noperands = 1,
    .rows = scale_rows,
};

const struct transform transform_offset = {
    .name = "offset",
    .usage = "offset(x, 1)",
    .doc = "every value of x plus a number",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_NUMBER}},
    .noperands = 1,
    .rows = offset_rows,
};

/* transpose(x, (1, 0)): axes in another order. */
#include "shared/transform.h"

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    const struct shape *from = &expr->arg[0]->shape, *order = &expr->operand[0].u.shape;
    unsigned seen = 0;
    char text[SHAPE_TEXT_MAX];
    (void)plan;
    for (int i = 0; i < order->rank && order->dim[i] < from->rank; i++) seen |= 1u << order->dim[i];
    if (order->rank != from->rank || seen != (1u << from->rank) - 1) {
        *at = expr->operand[0].at;
        return status_fail(STATUS_DATA, "%s is no order of %d axes", shape_format(order, text), from->rank);
    }
    expr->shape.rank = from->rank;
    for (int i = 0; i < from->rank; i++) expr->shape.dim[i] = from->dim[order->dim[i]];
    return SUCCESS;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    const struct shape *from = &expr->arg[0]->shape, *to = &expr->shape, *order = &expr->operand[0].u.shape;
    const float *x;
    int64_t stride[SHAPE_MAX_RANK], nrows, columns, step = 1;
    STATUS_TRY(evaluation_whole(evaluation, expr->arg[0], &x));
    for (int i = from->rank - 1; i >= 0; step *= from->dim[i--]) stride[i] = step;
    shape_rows(to, &nrows, &columns);
    for (int64_t r = 0; r < n; r++) {
        int64_t at = 0, rest = first + r;
        for (int i = to->rank - 2; i >= 0; rest /= to->dim[i--])
            at += rest % to->dim[i] * stride[order->dim[i]];
        int64_t along = to->rank ? stride[order->dim[to->rank - 1]] : 0;
        for (int64_t c = 0; c < columns; c++) out[r * columns + c] = x[at + c * along];
    }
    return SUCCESS;
}

static int from_axis(const struct expr *expr, int axis) {
    return (int)expr->operand[0].u.shape.dim[axis];
}

const struct transform transform_transpose = {
    .name = "transpose",
    .usage = "transpose(x, (1, 0))",
    .doc = "the axes of x in this order",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_AXES}},
    .noperands = 1,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

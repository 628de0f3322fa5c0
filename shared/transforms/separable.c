/* separable(x, 1): the nearest kernel that a depthwise convolution with this multiplier and one over the
 * channels alone make together, of the kernel (..., C, M) of a convolution; or one of these two kernels.
 * Input channels do not mix in the first, so that each is on its own: the nearest matrix of that rank (Eckart
 * and Young 1936) of its window by its outputs. */
#include "shared/transform.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { BOTH, DEPTHWISE, POINTWISE };

static int64_t part_of(const struct expr *expr) {
    return expr->operand[1].present ? expr->operand[1].u.i : BOTH;
}

/* Positions of the window, input and output channels of a kernel. */
static void kernel_sizes(const struct shape *x, int64_t *window, int64_t *channels, int64_t *outputs) {
    *window = 1;
    for (int i = 0; i < x->rank - 2; i++) *window *= x->dim[i];
    *channels = x->dim[x->rank - 2];
    *outputs = x->dim[x->rank - 1];
}

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    const struct shape *x = &expr->arg[0]->shape;
    int64_t window, channels, outputs, multiplier = expr->operand[0].u.i;
    char text[SHAPE_TEXT_MAX];
    (void)plan;
    if (x->rank < 3)
        return status_fail(STATUS_DATA, "separable is of kernels with a window, (..., C, M), not of %s",
                           shape_format(x, text));
    kernel_sizes(x, &window, &channels, &outputs);
    if (multiplier < 1 || multiplier > window) {
        *at = expr->operand[0].at;
        return status_fail(STATUS_DATA, "a window of %" PRId64 " positions has no multiplier %" PRId64,
                           window, multiplier);
    }
    expr->shape = *x;
    if (part_of(expr) == DEPTHWISE) expr->shape.dim[x->rank - 1] = multiplier;
    if (part_of(expr) == POINTWISE) {
        for (int i = 0; i < x->rank - 2; i++) expr->shape.dim[i] = 1;
        expr->shape.dim[x->rank - 2] = channels * multiplier;
    }
    return SUCCESS;
}

/* Numbers of one channel: u (window, k), s [k], vt (k, outputs), k = min(window, outputs). */
static int64_t channel_numbers(int64_t window, int64_t outputs) {
    int64_t k = window < outputs ? window : outputs;
    return k * (window + 1 + outputs);
}

/* These of all channels, one after the other. */
static status decompose(struct evaluation *evaluation, const struct expr *x, double *values) {
    const struct evaluation_sources *sources = evaluation_sources(evaluation);
    int64_t window, channels, outputs;
    const float *all;
    double *a = NULL;
    kernel_sizes(&x->shape, &window, &channels, &outputs);
    int64_t k = window < outputs ? window : outputs;
    STATUS_TRY(evaluation_whole(evaluation, x, &all));
    STATUS_TRY(memory_alloc("a decomposition", (size_t)(window * outputs), sizeof *a, (void **)&a));
    status error = SUCCESS;
    for (int64_t c = 0; c < channels && !error; c++, values += channel_numbers(window, outputs)) {
        for (int64_t t = 0; t < window; t++)
            for (int64_t m = 0; m < outputs; m++) a[t * outputs + m] = all[(t * channels + c) * outputs + m];
        error = sources->svd(sources->context, window, outputs, a, values, values + window * k,
                             values + window * k + k);
    }
    free(a);
    return error;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t count,
                   float *out) {
    int64_t window, channels, outputs, multiplier = expr->operand[0].u.i, part = part_of(expr);
    const double *all;
    kernel_sizes(&expr->arg[0]->shape, &window, &channels, &outputs);
    int64_t k = window < outputs ? window : outputs, each = channel_numbers(window, outputs);
    int64_t columns = part == DEPTHWISE ? multiplier : outputs;
    STATUS_TRY(evaluation_reuse(evaluation, expr->arg[0], channels * each, decompose, &all));
    for (int64_t r = first; r < first + count; r++, out += columns) {
        int64_t c = part == POINTWISE ? r / multiplier : r % channels, t = r / channels, d = r % multiplier;
        const double *u = all + c * each, *s = u + window * k, *vt = s + k;
        for (int64_t j = 0; j < columns; j++) {
            double value = 0; /* of directions that there are not */
            if (part == DEPTHWISE && j < k) value = u[t * k + j] * sqrt(s[j]);
            if (part == POINTWISE && d < k) value = vt[d * outputs + j] * sqrt(s[d]);
            for (int64_t i = 0; part == BOTH && i < multiplier && i < k; i++)
                value += u[t * k + i] * s[i] * vt[i * outputs + j];
            out[j] = (float)value;
        }
    }
    return SUCCESS;
}

/* Of the depthwise kernel the input channels, of the pointwise one the outputs. */
static int from_axis(const struct expr *expr, int axis) {
    int last = expr->shape.rank - 1;
    if (part_of(expr) == DEPTHWISE) return axis != last ? axis : -1;
    if (part_of(expr) == POINTWISE) return axis == last ? axis : -1;
    return axis;
}

const struct transform transform_separable = {
    .name = "separable",
    .usage = "separable(x, 1, part depthwise)",
    .doc = "of a convolution's kernel the nearest that a depthwise one with this multiplier and one over the "
           "channels make; or one of the two",
    .min_args = 1,
    .max_args = 1,
    .operand =
        {{.type = OPERAND_INTEGER},
         {.name = "part", .type = OPERAND_WORD, .optional = true, .choices = "both|depthwise|pointwise"}},
    .noperands = 2,
    .check = check,
    .from_axis = from_axis,
    .rows = rows,
};

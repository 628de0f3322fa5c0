/* A batch norm of the source taken into the weights before it:
 *   y = (k x + b - mean) * s + beta,   s = gamma / sqrt(variance + epsilon)
 * so that the kernel becomes k * s and the bias beta + (b - mean) * s. */
#include "shared/transform.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct layer *norm_of(const struct plan *plan, const struct expr *expr) {
    return &plan->source->layer[expr->operand[0].u.i];
}

static int64_t channels_of(const struct layer *norm) {
    return norm->nweights ? norm->weight[0].shape.dim[0] : 0;
}

static status check_norm(const struct plan *plan, struct expr *expr, struct position *at) {
    const struct layer *norm = norm_of(plan, expr);
    if (norm->kind == layer_kind_find("BatchNormalization")) return SUCCESS;
    *at = expr->operand[0].at;
    return status_fail(STATUS_DATA, "\"%s\" is no batch norm, but a %s", norm->name, norm->kind->class_name);
}

static status no_channels(const struct plan *plan, const struct expr *expr) {
    char text[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "\"%s\" has %" PRId64 " channels, which are on no such axis of %s",
                       norm_of(plan, expr)->name, channels_of(norm_of(plan, expr)),
                       shape_format(&expr->shape, text));
}

/* The axis of the output channels. Not said: the last one, or the last two together, of a depthwise kernel;
 * that is the rank. */
static int channel_axis(const struct expr *expr, int64_t channels) {
    const struct shape *s = &expr->shape;
    if (expr->operand[1].present) return (int)expr->operand[1].u.i;
    if (s->rank > 1 && s->dim[s->rank - 1] != channels &&
        s->dim[s->rank - 2] * s->dim[s->rank - 1] == channels)
        return s->rank;
    return s->rank - 1;
}

static status check_kernel(const struct plan *plan, struct expr *expr, struct position *at) {
    STATUS_TRY(check_norm(plan, expr, at));
    expr->shape = expr->arg[0]->shape;
    int64_t channels = channels_of(norm_of(plan, expr));
    int axis = channel_axis(expr, channels);
    if (axis < 0 || (axis < expr->shape.rank && expr->shape.dim[axis] != channels))
        return no_channels(plan, expr);
    return SUCCESS;
}

static status check_bias(const struct plan *plan, struct expr *expr, struct position *at) {
    STATUS_TRY(check_norm(plan, expr, at));
    expr->shape = expr->arg[0]->shape;
    if (expr->shape.rank != 1 || expr->shape.dim[0] != channels_of(norm_of(plan, expr)))
        return no_channels(plan, expr);
    return SUCCESS;
}

/* ---- evaluation ---- */

/* Reads the weight called `name` of the batch norm into v[n], or fills in `absent`. */
static status read_vector(struct evaluation *evaluation, const struct expr *expr, const char *name,
                          double absent, int64_t n, float *row, double *v) {
    const struct evaluation_sources *sources = evaluation_sources(evaluation);
    const struct layer *norm = norm_of(evaluation_plan(evaluation), expr);
    for (int64_t i = 0; i < n; i++) v[i] = absent;
    for (int w = 0; w < norm->nweights; w++) {
        if (strcmp(norm->weight[w].name, name) != 0) continue;
        STATUS_TRY(sources->read(sources->context, (int)expr->operand[0].u.i, w, 0, 1, row));
        for (int64_t i = 0; i < n; i++) v[i] = row[i];
    }
    return SUCCESS;
}

/* values: s [n], beta [n], mean [n]. */
static status fill(struct evaluation *evaluation, const struct expr *expr, double *values) {
    const struct layer *norm = norm_of(evaluation_plan(evaluation), expr);
    int64_t n = channels_of(norm);
    double epsilon = layer_float(norm, "epsilon"), *scale = values, *beta = values + n, *mean = beta + n;
    float *row = NULL;
    STATUS_TRY(memory_alloc("a batch norm", (size_t)n, sizeof *row, (void **)&row));
    status error = read_vector(evaluation, expr, "moving_variance", 1, n, row, mean);
    for (int64_t i = 0; !error && i < n; i++) {
        if (mean[i] + epsilon <= 0)
            error = status_fail(STATUS_DATA, "the variance of \"%s\" is negative in channel %" PRId64,
                                norm->name, i);
        else beta[i] = sqrt(mean[i] + epsilon);
    }
    if (!error) error = read_vector(evaluation, expr, "gamma", 1, n, row, scale);
    for (int64_t i = 0; !error && i < n; i++) scale[i] /= beta[i];
    if (!error) error = read_vector(evaluation, expr, "beta", 0, n, row, beta);
    if (!error) error = read_vector(evaluation, expr, "moving_mean", 0, n, row, mean);
    free(row);
    return error;
}

static status norm_values(struct evaluation *evaluation, const struct expr *expr, int64_t *n,
                          const double **values) {
    const struct layer *norm = norm_of(evaluation_plan(evaluation), expr);
    *n = channels_of(norm);
    return evaluation_keep(evaluation, expr, norm, 3 * *n, fill, values);
}

/* Index along `axis` of row `row` of a tensor seen as rows of its last axis. */
static int64_t row_index(const struct shape *shape, int64_t row, int axis) {
    for (int i = shape->rank - 2; i > axis; i--) row /= shape->dim[i];
    return row % shape->dim[axis];
}

static status kernel_rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                          float *out) {
    const double *scale;
    int64_t channels, nrows, columns;
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    STATUS_TRY(norm_values(evaluation, expr, &channels, &scale));
    shape_rows(&expr->shape, &nrows, &columns);
    int axis = channel_axis(expr, channels);
    bool by_row = axis < expr->shape.rank - 1;
    for (int64_t r = 0; r < n; r++) {
        int64_t channel =
            by_row ? row_index(&expr->shape, first + r, axis) : (first + r) * columns % channels;
        for (int64_t c = 0; c < columns; c++)
            out[r * columns + c] = (float)(out[r * columns + c] * scale[channel + (by_row ? 0 : c)]);
    }
    return SUCCESS;
}

static status bias_rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                        float *out) {
    const double *scale;
    int64_t channels;
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    STATUS_TRY(norm_values(evaluation, expr, &channels, &scale));
    const double *beta = scale + channels, *mean = beta + channels;
    for (int64_t c = 0; c < channels; c++) out[c] = (float)(beta[c] + (out[c] - mean[c]) * scale[c]);
    return SUCCESS;
}

const struct transform transform_fold_bn = {
    .name = "fold_bn",
    .usage = "fold_bn(x, \"batch_norm\", axis 3)",
    .doc =
        "a kernel times gamma / sqrt(variance + epsilon) of a batch norm of the source, channel by channel. "
        "Without an axis the channels are on the last one, or on the last two of a depthwise kernel",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_LAYER}, {.name = "axis", .type = OPERAND_AXIS, .optional = true}},
    .noperands = 2,
    .check = check_kernel,
    .rows = kernel_rows,
};

const struct transform transform_fold_bn_bias = {
    .name = "fold_bn_bias",
    .usage = "fold_bn_bias(x, \"batch_norm\")",
    .doc = "a bias likewise: beta + (x - mean) * gamma / sqrt(variance + epsilon)",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_LAYER}},
    .noperands = 1,
    .check = check_bias,
    .rows = bias_rows,
};

#include "worker/patches.h"

#include <string.h>

bool patches_known(const struct op *op) {
    return op->kind == OP_DENSE || op->kind == OP_DEPTHWISE || op->kind == OP_CONV_TRANSPOSE ||
           op->kind == OP_CONV;
}

status patches_init(const struct opgraph *graph, const struct op *op, struct patches *p) {
    if (!patches_known(op))
        return status_fail(STATUS_UNSUPPORTED, "a %s cannot be refitted", op_name(op->kind));
    *p = (struct patches){
        .op = op, .in = graph->value[op->in[0]], .out = graph->value[op->out], .step = 1, .groups = 1};
    p->in.dim[0] = p->out.dim[0] = 1;
    int64_t channels = p->in.dim[p->in.rank - 1];
    if (op->kind == OP_DENSE) {
        p->rows = shape_sample_count(&p->in) / channels;
        p->columns = channels;
    } else {
        p->rows = p->out.dim[1] * p->out.dim[2];
        p->columns = (int64_t)op->u.conv.window.size[0] * op->u.conv.window.size[1] * channels;
    }
    if (op->kind == OP_CONV) p->groups = op->u.conv.groups;
    if (op->kind == OP_DEPTHWISE) p->groups = channels;
    p->inputs = p->columns / p->groups;
    p->outputs = p->out.dim[p->out.rank - 1] / p->groups;
    return SUCCESS;
}

void patches_of_steps(const struct shape *in, int64_t outputs, struct patches *p) {
    static const struct op dense = {.kind = OP_DENSE};
    int64_t channels = in->dim[in->rank - 1];
    *p = (struct patches){.op = &dense,
                          .in = *in,
                          .out = *in,
                          .step = 1,
                          .columns = channels,
                          .groups = 1,
                          .inputs = channels,
                          .outputs = outputs};
    p->in.dim[0] = p->out.dim[0] = 1;
    p->out.dim[p->out.rank - 1] = outputs;
    p->rows = shape_sample_count(&p->in) / channels;
}

void patches_thin(struct patches *p, int64_t samples, int64_t wanted) {
    enum { STEP_MAX = 64, ROWS_A_COLUMN = 32 };
    if (wanted < ROWS_A_COLUMN * p->inputs) wanted = ROWS_A_COLUMN * p->inputs;
    int64_t positions = p->rows * p->step;
    while (p->step < STEP_MAX && positions / (2 * p->step) * samples >= wanted) p->step *= 2;
    p->rows = positions / p->step;
}

int64_t patches_position(const struct patches *p, int64_t row) {
    if (p->step == 1) return row;
    int64_t sample = row / p->rows, count = shape_sample_count(&p->out) / p->out.dim[p->out.rank - 1];
    return sample * count + row % p->rows * p->step + sample % p->step;
}

void patches_group(const struct patches *p, int64_t g, int64_t n, int64_t stride, const float *u, float *gu) {
    int64_t channels = p->in.dim[p->in.rank - 1], each = channels / p->groups, bias = stride - p->columns;
    for (int64_t r = 0; r < n; r++, u += stride, gu += p->inputs + bias) {
        for (int64_t i = 0; i < p->inputs; i++) gu[i] = u[i / each * channels + g * each + i % each];
        if (bias) gu[p->inputs] = 1;
    }
}

int64_t patches_weight(const struct patches *p, int64_t group, int64_t column, int64_t output) {
    int64_t outputs = p->out.dim[p->out.rank - 1], channels = p->in.dim[p->in.rank - 1];
    if (p->op->kind != OP_CONV_TRANSPOSE) return column * outputs + group * p->outputs + output;
    return (column / channels * outputs + output) * channels + column % channels;
}

/* One row of the window: `size` cells from `x`, `step` apart, of which those outside [0, width) are zero. */
static void gather_row(const float *x, int64_t at, int size, int step, int64_t width, int64_t channels,
                       float *u) {
    if (step == 1 && at >= 0 && at + size <= width) {
        memcpy(u, x + at * channels, (size_t)(size * channels) * sizeof *u);
        return;
    }
    for (int k = 0; k < size; k++, at += step, u += channels) {
        if (at < 0 || at >= width) memset(u, 0, (size_t)channels * sizeof *u);
        else memcpy(u, x + at * channels, (size_t)channels * sizeof *u);
    }
}

/* The patch at output position (oy, ox) of one sample. */
static void gather_window(const struct patches *p, const float *x, int64_t oy, int64_t ox, float *u) {
    const struct window *w = &p->op->u.conv.window;
    int64_t height = p->in.dim[1], width = p->in.dim[2], channels = p->in.dim[3], row = w->size[1] * channels;
    int64_t left = ox * w->stride[1] - w->before[1];
    for (int ky = 0; ky < w->size[0]; ky++, u += row) {
        int64_t y = oy * w->stride[0] - w->before[0] + (int64_t)ky * w->dilation[0];
        if (y < 0 || y >= height) memset(u, 0, (size_t)row * sizeof *u);
        else gather_row(x + y * width * channels, left, w->size[1], w->dilation[1], width, channels, u);
    }
}

/* What the transposed convolution adds up at output position (oy, ox): tap (ky, kx) meets the input from
 * whose place the window reaches there. */
static void gather_transposed(const struct patches *p, const float *x, int64_t oy, int64_t ox, float *u) {
    const struct window *w = &p->op->u.conv.window;
    const int64_t height = p->in.dim[1], width = p->in.dim[2], channels = p->in.dim[3];
    for (int ky = 0; ky < w->size[0]; ky++)
        for (int kx = 0; kx < w->size[1]; kx++, u += channels) {
            int64_t y = oy + w->before[0] - (int64_t)ky * w->dilation[0];
            int64_t col = ox + w->before[1] - (int64_t)kx * w->dilation[1];
            bool meets = y >= 0 && col >= 0 && y % w->stride[0] == 0 && col % w->stride[1] == 0 &&
                         y / w->stride[0] < height && col / w->stride[1] < width;
            if (!meets) memset(u, 0, (size_t)channels * sizeof *u);
            else
                memcpy(u, x + (y / w->stride[0] * width + col / w->stride[1]) * channels,
                       (size_t)channels * sizeof *u);
        }
}

void patches_gather(const struct patches *p, const float *x, int64_t first, int64_t n, int64_t stride,
                    int threads, float *u) {
    bool dense = p->op->kind == OP_DENSE;
    int64_t sample = shape_sample_count(&p->in), width = dense ? 1 : p->out.dim[2];
    int64_t positions = shape_sample_count(&p->out) / p->out.dim[p->out.rank - 1];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t at = patches_position(p, first + i), position = at % positions;
        const float *from = x + at / positions * sample;
        float *row = u + i * stride;
        if (dense) memcpy(row, from + position * p->columns, (size_t)p->columns * sizeof *row);
        else if (p->op->kind == OP_CONV_TRANSPOSE)
            gather_transposed(p, from, position / width, position % width, row);
        else gather_window(p, from, position / width, position % width, row);
        if (stride > p->columns) row[p->columns] = 1;
    }
}

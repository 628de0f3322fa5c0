/* Depthwise convolution: each channel by its own kernel, m outputs per channel. Plain loops along the
 * channels. */
#include "worker/engines/openblas/kernels.h"

#include <stdlib.h>
#include <string.h>

struct depthwise {
    struct window window;
    int64_t height, width, channels;
    int64_t out_height, out_width, filters; /* filters: channels * multiplier */
    int64_t multiplier;
    int slots; /* of backward */
};

static size_t backward_slot(const struct depthwise *d) {
    size_t taps = (size_t)d->window.size[0] * (size_t)d->window.size[1];
    size_t nbytes = (size_t)d->filters * ((taps + 1) * sizeof(double) + sizeof(float));
    return (nbytes + 63) / 64 * 64;
}

static status depthwise_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out, *kernel = &task->param[0];
    const struct window *w = &task->op->u.conv.window;
    if (in->rank != 4 || out->rank != 4 || kernel->rank != 4) return kernel_mismatch(task, "ranks are not 4");
    int64_t size[2];
    window_output(w, &in->dim[1], size);
    if (size[0] != out->dim[1] || size[1] != out->dim[2])
        return kernel_mismatch(task, "height or width of the output disagrees with the window");
    if (kernel->dim[0] != w->size[0] || kernel->dim[1] != w->size[1] || kernel->dim[2] != in->dim[3] ||
        kernel->dim[2] * kernel->dim[3] != out->dim[3])
        return kernel_mismatch(task, "the kernel's shape disagrees");
    if (has_param(task, 1) && count_of(&task->param[1]) != out->dim[3])
        return kernel_mismatch(task, "the bias's shape disagrees");
    struct depthwise *d = calloc(1, sizeof *d);
    if (!d) return status_no_memory("a depthwise convolution", sizeof *d);
    task->plan = d;
    *d = (struct depthwise){*w,          in->dim[1],  in->dim[2],     in->dim[3], out->dim[1],
                            out->dim[2], out->dim[3], kernel->dim[3], 0};
    d->slots = task->env->batch < task->env->threads ? (int)task->env->batch : task->env->threads;
    if (task->env->train) task->scratch_backward = (size_t)d->slots * backward_slot(d);
    return SUCCESS;
}

/* Output columns first..last-1 whose tap kx lies in the image, and the input column of output column 0. */
static void columns_inside(const struct depthwise *d, int kx, int64_t *first, int64_t *last,
                           int64_t *column0) {
    int64_t stride = d->window.stride[1];
    int64_t x0 = (int64_t)kx * d->window.dilation[1] - d->window.before[1];
    int64_t lo = x0 < 0 ? (-x0 + stride - 1) / stride : 0;
    int64_t hi = x0 < d->width ? (d->width - x0 + stride - 1) / stride : 0;
    if (hi > d->out_width) hi = d->out_width;
    if (lo > hi) lo = hi;
    *first = lo;
    *last = hi;
    *column0 = x0;
}

/* Input row of tap ky for output row oy, or -1 if it lies in the padding. */
static int64_t row_of(const struct depthwise *d, int64_t oy, int ky) {
    int64_t y = oy * d->window.stride[0] - d->window.before[0] + (int64_t)ky * d->window.dilation[0];
    return y < 0 || y >= d->height ? -1 : y;
}

/* y[c*m + j] += x[c] * w[c*m + j] */
static void multiply_add(float *restrict y, const float *restrict x, const float *restrict w,
                         int64_t channels, int64_t m) {
    if (m == 1) {
        for (int64_t c = 0; c < channels; c++) y[c] += x[c] * w[c];
        return;
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t j = 0; j < m; j++) y[c * m + j] += x[c] * w[c * m + j];
}

static void forward_row(const struct task *task, int64_t sample, int64_t oy) {
    const struct depthwise *d = task->plan;
    const int64_t stride = d->window.stride[1];
    float *y = task->y + (sample * d->out_height + oy) * d->out_width * d->filters;
    for (int64_t i = 0; i < d->out_width; i++) {
        if (task->w[1]) memcpy(y + i * d->filters, task->w[1], (size_t)d->filters * sizeof *y);
        else memset(y + i * d->filters, 0, (size_t)d->filters * sizeof *y);
    }
    for (int ky = 0; ky < d->window.size[0]; ky++) {
        int64_t row = row_of(d, oy, ky);
        if (row < 0) continue;
        const float *x = task->x[0] + (sample * d->height + row) * d->width * d->channels;
        for (int kx = 0; kx < d->window.size[1]; kx++) {
            const float *w = task->w[0] + ((int64_t)ky * d->window.size[1] + kx) * d->filters;
            int64_t first, last, column0;
            columns_inside(d, kx, &first, &last, &column0);
            for (int64_t i = first; i < last; i++)
                multiply_add(y + i * d->filters, x + (column0 + i * stride) * d->channels, w, d->channels,
                             d->multiplier);
        }
    }
}

static status depthwise_forward(struct task *task) {
    const struct depthwise *d = task->plan;
    const int64_t n = task->env->batch * d->out_height;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t i = 0; i < n; i++) forward_row(task, i / d->out_height, i % d->out_height);
    return SUCCESS;
}

/* Adds the kernel gradient of one tap of one output row to dw[filters]; `row_sum` [filters] is scratch: the
 * row is summed in single, the rows in double precision. */
static void backward_tap(const struct depthwise *d, int64_t first, int64_t last, int64_t column0,
                         const float *x, const float *dy, float *row_sum, double *dw) {
    const int64_t stride = d->window.stride[1], m = d->multiplier;
    memset(row_sum, 0, (size_t)d->filters * sizeof *row_sum);
    for (int64_t i = first; i < last; i++)
        multiply_add(row_sum, x + (column0 + i * stride) * d->channels, dy + i * d->filters, d->channels, m);
    for (int64_t j = 0; j < d->filters; j++) dw[j] += row_sum[j];
}

/* dx[c] += sum over j of dy[c*m + j] * w[c*m + j] */
static void backward_pixel(float *restrict dx, const float *restrict dy, const float *restrict w,
                           int64_t channels, int64_t m) {
    if (m == 1) {
        for (int64_t c = 0; c < channels; c++) dx[c] += dy[c] * w[c];
        return;
    }
    for (int64_t c = 0; c < channels; c++) {
        float sum = 0;
        for (int64_t j = 0; j < m; j++) sum += dy[c * m + j] * w[c * m + j];
        dx[c] += sum;
    }
}

static void backward_row(const struct task *task, int64_t sample, int64_t oy, double *dw, float *row_sum) {
    const struct depthwise *d = task->plan;
    const float *dy = task->dy + (sample * d->out_height + oy) * d->out_width * d->filters;
    for (int ky = 0; ky < d->window.size[0]; ky++) {
        int64_t row = row_of(d, oy, ky);
        if (row < 0) continue;
        int64_t offset = (sample * d->height + row) * d->width * d->channels;
        for (int kx = 0; kx < d->window.size[1]; kx++) {
            int64_t tap = ((int64_t)ky * d->window.size[1] + kx) * d->filters;
            int64_t first, last, column0;
            columns_inside(d, kx, &first, &last, &column0);
            if (task->dw[0])
                backward_tap(d, first, last, column0, task->x[0] + offset, dy, row_sum, dw + tap);
            if (task->dx[0])
                for (int64_t i = first; i < last; i++)
                    backward_pixel(task->dx[0] + offset + (column0 + i * d->window.stride[1]) * d->channels,
                                   dy + i * d->filters, task->w[0] + tap, d->channels, d->multiplier);
        }
    }
}

static status depthwise_backward(struct task *task) {
    const struct depthwise *d = task->plan;
    const int slots = d->slots;
    const int64_t taps = (int64_t)d->window.size[0] * d->window.size[1] * d->filters;
    const int64_t image = d->height * d->width * d->channels;
    const size_t slot_nbytes = backward_slot(d);
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        double *dw = (double *)((char *)task->scratch + (size_t)slot * slot_nbytes), *db = dw + taps;
        float *row_sum = (float *)(db + d->filters);
        memset(dw, 0, (size_t)(taps + d->filters) * sizeof *dw);
        int64_t begin, end;
        slot_range(task->env->batch, slots, slot, &begin, &end);
        if (task->dx[0])
            memset(task->dx[0] + begin * image, 0, (size_t)((end - begin) * image) * sizeof(float));
        for (int64_t sample = begin; sample < end; sample++)
            for (int64_t oy = 0; oy < d->out_height; oy++) {
                backward_row(task, sample, oy, dw, row_sum);
                if (!task->dw[1]) continue;
                const float *dy = task->dy + (sample * d->out_height + oy) * d->out_width * d->filters;
                for (int64_t i = 0; i < d->out_width; i++)
                    for (int64_t j = 0; j < d->filters; j++) db[j] += dy[i * d->filters + j];
            }
    }
    for (int64_t i = 0; i < taps + d->filters; i++) {
        float *to = i < taps ? task->dw[0] : task->dw[1];
        if (!to) continue;
        double sum = 0;
        for (int slot = 0; slot < slots; slot++)
            sum += ((const double *)((char *)task->scratch + (size_t)slot * slot_nbytes))[i];
        to[i < taps ? i : i - taps] = (float)sum;
    }
    return SUCCESS;
}

const struct kernel kernel_depthwise = {depthwise_prepare, depthwise_forward, depthwise_backward};

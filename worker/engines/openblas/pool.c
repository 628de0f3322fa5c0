/* Maximum or mean over windows; padding is not counted. */
#include "worker/engines/openblas/kernels.h"

#include <math.h>
#include <string.h>

static status pool_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    if (in->rank != 4 || out->rank != 4) return kernel_mismatch(task, "ranks are not 4");
    int64_t size[2];
    window_output(&task->op->u.pool.window, &in->dim[1], size);
    if (size[0] != out->dim[1] || size[1] != out->dim[2] || in->dim[3] != out->dim[3])
        return kernel_mismatch(task, "the output's shape disagrees with the window");
    if (in->dim[1] * in->dim[2] > INT32_MAX) return kernel_mismatch(task, "the image is too large");
    /* In training, the pixel of each maximum. */
    if (task->op->u.pool.kind == POOL_MAX && task->env->train)
        task->saved = (size_t)count_of(out) * sizeof(int32_t);
    return SUCCESS;
}

/* Window of output pixel (oy, ox): rows y0, y0+dy, ... below y1 and columns likewise. */
struct cells {
    int64_t y0, y1, dy, x0, x1, dx;
    int64_t n;
};

static void clip(int64_t start, int64_t size, int64_t dilation, int64_t length, int64_t *first,
                 int64_t *end) {
    int64_t last = start + (size - 1) * dilation;
    *end = (last < length ? last : length - 1) + 1;
    *first = start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
    if (*first > *end) *first = *end;
}

static struct cells cells_of(const struct task *task, int64_t oy, int64_t ox) {
    const struct window *w = &task->op->u.pool.window;
    struct cells c = {.dy = w->dilation[0], .dx = w->dilation[1]};
    clip(oy * w->stride[0] - w->before[0], w->size[0], c.dy, task->in[0].dim[1], &c.y0, &c.y1);
    clip(ox * w->stride[1] - w->before[1], w->size[1], c.dx, task->in[0].dim[2], &c.x0, &c.x1);
    c.n = ((c.y1 - c.y0 + c.dy - 1) / c.dy) * ((c.x1 - c.x0 + c.dx - 1) / c.dx);
    return c;
}

/* Maxima of one output pixel; which[channels]: their pixels, may be NULL. */
static void max_pixel(const struct cells *c, const float *image, int64_t width, int64_t channels,
                      float *restrict y, int32_t *restrict which) {
    for (int64_t j = 0; j < channels; j++) y[j] = c->n ? -INFINITY : 0;
    if (which)
        for (int64_t j = 0; j < channels; j++) which[j] = c->n ? (int32_t)(c->y0 * width + c->x0) : -1;
    for (int64_t row = c->y0; row < c->y1; row += c->dy)
        for (int64_t column = c->x0; column < c->x1; column += c->dx) {
            const float *restrict x = image + (row * width + column) * channels;
            const int32_t pixel = (int32_t)(row * width + column);
            if (!which) {
                for (int64_t j = 0; j < channels; j++) y[j] = x[j] <= y[j] ? y[j] : x[j];
                continue;
            }
            for (int64_t j = 0; j < channels; j++) {
                bool keep = x[j] <= y[j];
                which[j] = keep ? which[j] : pixel;
                y[j] = keep ? y[j] : x[j];
            }
        }
}

static void mean_pixel(const struct cells *c, const float *image, int64_t width, int64_t channels,
                       float *restrict y) {
    for (int64_t j = 0; j < channels; j++) y[j] = 0;
    for (int64_t row = c->y0; row < c->y1; row += c->dy)
        for (int64_t column = c->x0; column < c->x1; column += c->dx) {
            const float *restrict x = image + (row * width + column) * channels;
            for (int64_t j = 0; j < channels; j++) y[j] += x[j];
        }
    float inverse = c->n ? 1 / (float)c->n : 0;
    for (int64_t j = 0; j < channels; j++) y[j] *= inverse;
}

static status pool_forward(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int64_t image = in->dim[1] * in->dim[2] * in->dim[3], channels = in->dim[3];
    const bool max = task->op->u.pool.kind == POOL_MAX;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t row = 0; row < out->dim[0] * out->dim[1]; row++) {
        const float *x = task->x[0] + row / out->dim[1] * image;
        for (int64_t ox = 0; ox < out->dim[2]; ox++) {
            struct cells c = cells_of(task, row % out->dim[1], ox);
            int64_t at = (row * out->dim[2] + ox) * channels;
            int32_t *which = task->saved ? (int32_t *)task->kept + at : NULL;
            if (max) max_pixel(&c, x, in->dim[2], channels, task->y + at, which);
            else mean_pixel(&c, x, in->dim[2], channels, task->y + at);
        }
    }
    return SUCCESS;
}

static void mean_pixel_backward(const struct cells *c, const float *restrict dy, int64_t width,
                                int64_t channels, float *image) {
    float inverse = c->n ? 1 / (float)c->n : 0;
    for (int64_t row = c->y0; row < c->y1; row += c->dy)
        for (int64_t column = c->x0; column < c->x1; column += c->dx) {
            float *restrict dx = image + (row * width + column) * channels;
            for (int64_t j = 0; j < channels; j++) dx[j] += dy[j] * inverse;
        }
}

static status pool_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const struct shape *in = &task->in[0], *out = &task->out;
    const int64_t image = in->dim[1] * in->dim[2] * in->dim[3], channels = in->dim[3];
    const bool max = task->op->u.pool.kind == POOL_MAX;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < out->dim[0]; sample++) {
        float *dx = task->dx[0] + sample * image;
        memset(dx, 0, (size_t)image * sizeof *dx);
        for (int64_t i = 0; i < out->dim[1] * out->dim[2]; i++) {
            int64_t at = (sample * out->dim[1] * out->dim[2] + i) * channels;
            const float *dy = task->dy + at;
            if (!max) {
                struct cells c = cells_of(task, i / out->dim[2], i % out->dim[2]);
                mean_pixel_backward(&c, dy, in->dim[2], channels, dx);
                continue;
            }
            const int32_t *which = (const int32_t *)task->kept + at;
            for (int64_t j = 0; j < channels; j++)
                if (which[j] >= 0) dx[which[j] * channels + j] += dy[j];
        }
    }
    return SUCCESS;
}

const struct kernel kernel_pool = {pool_prepare, pool_forward, pool_backward};

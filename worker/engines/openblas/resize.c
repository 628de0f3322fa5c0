/* Enlarging of images by whole factors: nearest, or bilinear with half-pixel centres. */
#include "worker/engines/openblas/kernels.h"

#include <math.h>
#include <string.h>

static status resize_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int *factor = task->op->u.resize.factor;
    if (in->rank != 4 || out->rank != 4) return kernel_mismatch(task, "ranks are not 4");
    if (factor[0] < 1 || factor[1] < 1 || out->dim[1] != in->dim[1] * factor[0] ||
        out->dim[2] != in->dim[2] * factor[1] || out->dim[3] != in->dim[3])
        return kernel_mismatch(task, "the output's shape disagrees with the factors");
    return SUCCESS;
}

/* An output coordinate lies between input coordinates a and b, at weight t towards b. */
struct between {
    int64_t a, b;
    float t;
};

static struct between between_of(enum resize kind, int64_t i, int factor, int64_t length) {
    if (kind == RESIZE_NEAREST) return (struct between){i / factor, i / factor, 0};
    float at = ((float)i + 0.5f) / (float)factor - 0.5f;
    float below = floorf(at);
    int64_t a = (int64_t)below, b = a + 1;
    if (a < 0) a = 0;
    if (b > length - 1) b = length - 1;
    return (struct between){a, b, at - below};
}

/* The four input pixels of an output pixel and their weights. */
struct corners {
    int64_t pixel[4];
    float weight[4];
};

static struct corners corners_of(const struct task *task, int64_t oy, int64_t ox) {
    const enum resize kind = task->op->u.resize.kind;
    const int64_t width = task->in[0].dim[2];
    struct between y = between_of(kind, oy, task->op->u.resize.factor[0], task->in[0].dim[1]);
    struct between x = between_of(kind, ox, task->op->u.resize.factor[1], width);
    return (struct corners){{y.a * width + x.a, y.a * width + x.b, y.b * width + x.a, y.b * width + x.b},
                            {(1 - y.t) * (1 - x.t), (1 - y.t) * x.t, y.t * (1 - x.t), y.t * x.t}};
}

static status resize_forward(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int64_t channels = in->dim[3], image = in->dim[1] * in->dim[2] * channels;
    const bool nearest = task->op->u.resize.kind == RESIZE_NEAREST;
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t row = 0; row < out->dim[0] * out->dim[1]; row++) {
        const float *x = task->x[0] + row / out->dim[1] * image;
        for (int64_t ox = 0; ox < out->dim[2]; ox++) {
            struct corners c = corners_of(task, row % out->dim[1], ox);
            float *restrict y = task->y + (row * out->dim[2] + ox) * channels;
            const float *p0 = x + c.pixel[0] * channels, *p1 = x + c.pixel[1] * channels;
            const float *p2 = x + c.pixel[2] * channels, *p3 = x + c.pixel[3] * channels;
            if (nearest) memcpy(y, p0, (size_t)channels * sizeof *y);
            else
                for (int64_t j = 0; j < channels; j++)
                    y[j] =
                        c.weight[0] * p0[j] + c.weight[1] * p1[j] + c.weight[2] * p2[j] + c.weight[3] * p3[j];
        }
    }
    return SUCCESS;
}

static status resize_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const struct shape *in = &task->in[0], *out = &task->out;
    const int64_t channels = in->dim[3], image = in->dim[1] * in->dim[2] * channels;
    const int64_t pixels = out->dim[1] * out->dim[2];
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t sample = 0; sample < out->dim[0]; sample++) {
        float *dx = task->dx[0] + sample * image;
        memset(dx, 0, (size_t)image * sizeof *dx);
        for (int64_t i = 0; i < pixels; i++) {
            struct corners c = corners_of(task, i / out->dim[2], i % out->dim[2]);
            const float *restrict dy = task->dy + (sample * pixels + i) * channels;
            for (int k = 0; k < 4; k++) {
                if (c.weight[k] == 0) continue;
                float *restrict to = dx + c.pixel[k] * channels;
                for (int64_t j = 0; j < channels; j++) to[j] += c.weight[k] * dy[j];
            }
        }
    }
    return SUCCESS;
}

const struct kernel kernel_resize = {resize_prepare, resize_forward, resize_backward};

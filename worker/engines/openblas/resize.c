/* Resizing of images to any size: nearest, or bilinear without antialiasing, both with half-pixel centres and
 * in the single precision arithmetic of TensorFlow's tf.image.resize, so that the same pixels are taken. */
#include "worker/engines/openblas/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An output coordinate lies between input coordinates a and b, at weight t towards b. */
struct between {
    int64_t a, b;
    float t;
};

struct resize_plan {
    bool nearest;
    struct between *x;  /* [out width], behind y */
    struct between y[]; /* [out height] */
};

static struct between between_of(bool nearest, int64_t i, int64_t in, int64_t out) {
    const float scale = (float)in / (float)out, centre = ((float)i + 0.5f) * scale;
    if (nearest) {
        int64_t a = (int64_t)floorf(centre);
        if (a > in - 1) a = in - 1;
        return (struct between){a, a, 0};
    }
    const float at = centre - 0.5f, below = floorf(at);
    int64_t a = (int64_t)below, b = a + 1;
    if (a < 0) a = 0;
    if (b > in - 1) b = in - 1;
    return (struct between){a, b, at - below};
}

static status resize_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    if (in->rank != 4 || out->rank != 4) return kernel_mismatch(task, "ranks are not 4");
    if (out->dim[3] != in->dim[3]) return kernel_mismatch(task, "channels differ");
    const int64_t height = out->dim[1], width = out->dim[2];
    const size_t nbytes = sizeof(struct resize_plan) + (size_t)(height + width) * sizeof(struct between);
    struct resize_plan *plan = malloc(nbytes);
    if (!plan) return status_no_memory("a resizing", nbytes);
    task->plan = plan;
    plan->nearest = task->op->u.resize.kind == RESIZE_NEAREST;
    plan->x = plan->y + height;
    for (int64_t i = 0; i < height; i++) plan->y[i] = between_of(plan->nearest, i, in->dim[1], height);
    for (int64_t i = 0; i < width; i++) plan->x[i] = between_of(plan->nearest, i, in->dim[2], width);
    return SUCCESS;
}

/* The four input pixels of an output pixel and their weights. */
struct corners {
    int64_t pixel[4];
    float weight[4];
};

static struct corners corners_of(const struct task *task, int64_t oy, int64_t ox) {
    const struct resize_plan *plan = task->plan;
    const int64_t width = task->in[0].dim[2];
    const struct between y = plan->y[oy], x = plan->x[ox];
    return (struct corners){{y.a * width + x.a, y.a * width + x.b, y.b * width + x.a, y.b * width + x.b},
                            {(1 - y.t) * (1 - x.t), (1 - y.t) * x.t, y.t * (1 - x.t), y.t * x.t}};
}

static void forward_row(const struct task *task, const float *x, int64_t oy, float *y) {
    const struct resize_plan *plan = task->plan;
    const int64_t width = task->out.dim[2], channels = task->out.dim[3];
    if (plan->nearest) {
        x += plan->y[oy].a * task->in[0].dim[2] * channels;
        for (int64_t ox = 0; ox < width; ox++) {
            const float *restrict from = x + plan->x[ox].a * channels;
            float *restrict to = y + ox * channels;
            for (int64_t j = 0; j < channels; j++) to[j] = from[j];
        }
        return;
    }
    for (int64_t ox = 0; ox < width; ox++) {
        const struct corners c = corners_of(task, oy, ox);
        float *restrict to = y + ox * channels;
        const float *p0 = x + c.pixel[0] * channels, *p1 = x + c.pixel[1] * channels;
        const float *p2 = x + c.pixel[2] * channels, *p3 = x + c.pixel[3] * channels;
        for (int64_t j = 0; j < channels; j++)
            to[j] = c.weight[0] * p0[j] + c.weight[1] * p1[j] + c.weight[2] * p2[j] + c.weight[3] * p3[j];
    }
}

static status resize_forward(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out;
    const int64_t image = in->dim[1] * in->dim[2] * in->dim[3], line = out->dim[2] * out->dim[3];
#pragma omp parallel for num_threads(task->env->threads) schedule(static)
    for (int64_t row = 0; row < out->dim[0] * out->dim[1]; row++)
        forward_row(task, task->x[0] + row / out->dim[1] * image, row % out->dim[1], task->y + row * line);
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

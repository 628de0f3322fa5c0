/* Convolution: patches of each image times the kernel. */
#include "worker/engines/openblas/im2col.h"
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/kernels.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The matrix of patches is made in pieces of about this many floats, so that it stays in the cache. */
#define PIECE_FLOATS (128 * 1024)
#define PIECE_ROWS_MIN 64

struct conv {
    struct patches patches;
    int groups;
    int64_t pixels;  /* of one output */
    int64_t image;   /* floats of one input */
    int64_t depth;   /* kh*kw*C/groups: columns of the patches of a group */
    int64_t width;   /* M/groups: output channels of a group */
    int64_t filters; /* M */
    int64_t rows;    /* output pixels at a time */
    bool direct;     /* a pixel is its own patch: no copy is needed */
    int slots;       /* of backward */
};

static bool window_is_pixel(const struct window *w) {
    for (int i = 0; i < 2; i++)
        if (w->size[i] != 1 || w->stride[i] != 1 || w->before[i] != 0 || w->after[i] != 0) return false;
    return true;
}

static status check(const struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out, *kernel = &task->param[0];
    const struct window *w = &task->op->u.conv.window;
    int groups = task->op->u.conv.groups;
    if (in->rank != 4 || out->rank != 4 || kernel->rank != 4) return kernel_mismatch(task, "ranks are not 4");
    int64_t size[2];
    window_output(w, &in->dim[1], size);
    if (size[0] != out->dim[1] || size[1] != out->dim[2])
        return kernel_mismatch(task, "height or width of the output disagrees with the window");
    if (groups < 1 || in->dim[3] % groups || out->dim[3] % groups)
        return kernel_mismatch(task, "the groups do not divide the channels");
    if (kernel->dim[0] != w->size[0] || kernel->dim[1] != w->size[1] ||
        kernel->dim[2] * groups != in->dim[3] || kernel->dim[3] != out->dim[3])
        return kernel_mismatch(task, "the kernel's shape disagrees");
    if (has_param(task, 1) && count_of(&task->param[1]) != out->dim[3])
        return kernel_mismatch(task, "the bias's shape disagrees");
    if (count_of(kernel) > INT_MAX || out->dim[1] * out->dim[2] > INT_MAX || in->dim[3] > INT_MAX)
        return kernel_mismatch(task, "too large for BLAS");
    return SUCCESS;
}

/* Bytes of one slot in backward: sums of the bias's gradient, patches, the kernel's gradient. */
static size_t backward_slot(const struct conv *c) {
    size_t nbytes = (size_t)c->filters * sizeof(double) +
                    (size_t)(c->rows * c->depth + c->depth * c->filters) * sizeof(float);
    return (nbytes + 63) / 64 * 64;
}

static size_t forward_slot(const struct conv *c) {
    return c->direct ? 0 : ((size_t)(c->rows * c->depth) * sizeof(float) + 63) / 64 * 64;
}

static status conv_prepare(struct task *task) {
    STATUS_TRY(check(task));
    struct conv *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a convolution", sizeof *c);
    task->plan = c;
    const struct shape *in = &task->in[0], *out = &task->out;
    c->groups = task->op->u.conv.groups;
    c->patches = (struct patches){.window = task->op->u.conv.window,
                                  .height = in->dim[1],
                                  .width = in->dim[2],
                                  .channels = in->dim[3],
                                  .out_width = out->dim[2],
                                  .nchannels = in->dim[3] / c->groups};
    c->pixels = out->dim[1] * out->dim[2];
    c->image = in->dim[1] * in->dim[2] * in->dim[3];
    c->depth = task->param[0].dim[0] * task->param[0].dim[1] * task->param[0].dim[2];
    c->filters = out->dim[3];
    c->width = c->filters / c->groups;
    c->direct = window_is_pixel(&c->patches.window);
    c->rows = PIECE_FLOATS / c->depth;
    if (c->rows < PIECE_ROWS_MIN) c->rows = PIECE_ROWS_MIN;
    if (c->rows > c->pixels) c->rows = c->pixels;
    c->slots = task->env->batch < task->env->threads ? (int)task->env->batch : task->env->threads;
    task->scratch_forward = (size_t)task->env->threads * forward_slot(c);
    if (task->env->train) task->scratch_backward = (size_t)c->slots * backward_slot(c);
    return SUCCESS;
}

/* Patches of output pixels first..last-1 for a group; *stride is the length of a row. */
static const float *patches_of(const struct conv *c, const float *image, int group, int64_t first,
                               int64_t last, float *rows, int *stride) {
    struct patches patches = c->patches;
    patches.first_channel = group * patches.nchannels;
    if (c->direct) {
        *stride = (int)patches.channels;
        return image + first * patches.channels + patches.first_channel;
    }
    im2col(&patches, image, first, last, rows);
    *stride = (int)c->depth;
    return rows;
}

static void fill_rows(float *y, int64_t rows, int64_t n, const float *bias) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) y[i * n + j] = bias[j];
}

static void forward_piece(const struct task *task, int64_t sample, int64_t first, int64_t last, float *rows) {
    const struct conv *c = task->plan;
    const float *x = task->x[0] + sample * c->image;
    float *y = task->y + (sample * c->pixels + first) * c->filters;
    float beta = 0;
    if (task->w[1]) {
        fill_rows(y, last - first, c->filters, task->w[1]);
        beta = 1;
    }
    for (int g = 0; g < c->groups; g++) {
        int stride;
        const float *patches = patches_of(c, x, g, first, last, rows, &stride);
        gemm(false, false, (int)(last - first), (int)c->width, (int)c->depth, patches, stride,
             task->w[0] + g * c->width, (int)c->filters, beta, y + g * c->width, (int)c->filters);
    }
}

static status conv_forward(struct task *task) {
    const struct conv *c = task->plan;
    const int slots = task->env->threads;
    const int64_t pieces = (c->pixels + c->rows - 1) / c->rows; /* of one sample */
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        float *rows = (float *)((char *)task->scratch + (size_t)slot * forward_slot(c));
        int64_t begin, end;
        slot_range(task->env->batch * pieces, slots, slot, &begin, &end);
        for (int64_t i = begin; i < end; i++) {
            int64_t first = i % pieces * c->rows;
            int64_t last = first + c->rows < c->pixels ? first + c->rows : c->pixels;
            forward_piece(task, i / pieces, first, last, rows);
        }
    }
    return SUCCESS;
}

/* Kernel gradient of one group: += patches^T * dy. */
static void backward_kernel(const struct task *task, int64_t sample, int group, int64_t first, int64_t last,
                            float *rows, float *dw) {
    const struct conv *c = task->plan;
    const float *dy = task->dy + (sample * c->pixels + first) * c->filters + group * c->width;
    int stride;
    const float *patches = patches_of(c, task->x[0] + sample * c->image, group, first, last, rows, &stride);
    gemm(true, false, (int)c->depth, (int)c->width, (int)(last - first), patches, stride, dy, (int)c->filters,
         1, dw + group * c->width, (int)c->filters);
}

/* Image gradient of one group: += patches of dy * kernel^T. The image's gradient has been zeroed. */
static void backward_image(const struct task *task, int64_t sample, int group, int64_t first, int64_t last,
                           float *rows) {
    const struct conv *c = task->plan;
    const float *dy = task->dy + (sample * c->pixels + first) * c->filters + group * c->width;
    const float *w = task->w[0] + group * c->width;
    float *dx = task->dx[0] + sample * c->image;
    struct patches patches = c->patches;
    patches.first_channel = group * patches.nchannels;
    if (c->direct) {
        gemm(false, true, (int)(last - first), (int)c->depth, (int)c->width, dy, (int)c->filters, w,
             (int)c->filters, 0, dx + first * patches.channels + patches.first_channel,
             (int)patches.channels);
        return;
    }
    gemm(false, true, (int)(last - first), (int)c->depth, (int)c->width, dy, (int)c->filters, w,
         (int)c->filters, 0, rows, (int)c->depth);
    col2im_add(&patches, rows, first, last, dx);
}

static void backward_slot_run(const struct task *task, int slot) {
    const struct conv *c = task->plan;
    double *db = (double *)((char *)task->scratch + (size_t)slot * backward_slot(c));
    float *dw = (float *)(db + c->filters), *rows = dw + c->depth * c->filters;
    if (task->dw[0]) memset(dw, 0, (size_t)(c->depth * c->filters) * sizeof *dw);
    if (task->dw[1]) memset(db, 0, (size_t)c->filters * sizeof *db);
    int64_t begin, end;
    slot_range(task->env->batch, c->slots, slot, &begin, &end);
    for (int64_t sample = begin; sample < end; sample++) {
        if (task->dx[0] && !c->direct)
            memset(task->dx[0] + sample * c->image, 0, (size_t)c->image * sizeof(float));
        if (task->dw[1]) {
            const float *dy = task->dy + sample * c->pixels * c->filters;
            for (int64_t i = 0; i < c->pixels; i++)
                for (int64_t j = 0; j < c->filters; j++) db[j] += dy[i * c->filters + j];
        }
        for (int64_t first = 0; first < c->pixels; first += c->rows) {
            int64_t last = first + c->rows < c->pixels ? first + c->rows : c->pixels;
            for (int g = 0; g < c->groups; g++) {
                if (task->dw[0]) backward_kernel(task, sample, g, first, last, rows, dw);
                if (task->dx[0]) backward_image(task, sample, g, first, last, rows);
            }
        }
    }
}

static status conv_backward(struct task *task) {
    const struct conv *c = task->plan;
    const int slots = c->slots;
    const int64_t n = c->depth * c->filters;
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) backward_slot_run(task, slot);

    if (task->dw[0]) {
        for (int slot = 0; slot < slots; slot++) {
            const double *db = (const double *)((char *)task->scratch + (size_t)slot * backward_slot(c));
            const float *dw = (const float *)(db + c->filters);
            if (slot == 0) memcpy(task->dw[0], dw, (size_t)n * sizeof *dw);
            else
                for (int64_t i = 0; i < n; i++) task->dw[0][i] += dw[i];
        }
    }
    if (task->dw[1]) {
        for (int64_t j = 0; j < c->filters; j++) {
            double sum = 0;
            for (int slot = 0; slot < slots; slot++)
                sum += ((const double *)((char *)task->scratch + (size_t)slot * backward_slot(c)))[j];
            task->dw[1][j] = (float)sum;
        }
    }
    return SUCCESS;
}

const struct kernel kernel_conv = {conv_prepare, conv_forward, conv_backward};

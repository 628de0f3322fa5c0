/* Transposed convolution: the gradient, by its input, of the convolution from the output here to the input
 * here. So forward is what backward of a convolution does, and the other way round.
 *
 * Forward divides the output into bands of rows, each computed from all input rows that reach it, so that one
 * image keeps several threads busy and no two write the same place. Bands depend on the shapes only. */
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/im2col.h"
#include "worker/engines/openblas/kernels.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The matrix of patches is made in pieces of about this many floats, so that it stays in the cache. */
#define PIECE_FLOATS (128 * 1024)
#define PIECE_ROWS_MIN 64

struct conv_transpose {
    struct patches patches;          /* of an output image: one for each input pixel */
    int64_t height, width, channels; /* of the input */
    int64_t pixels;                  /* of one input */
    int64_t image;                   /* floats of one output */
    int64_t filters;                 /* of the output */
    int64_t depth;                   /* kh*kw*filters */
    int64_t rows;                    /* input pixels at a time */
    int64_t band, bands;             /* output rows of a band; bands of an image */
    int slots;                       /* of backward */
};

static status check(const struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out, *kernel = &task->param[0];
    const struct window *w = &task->op->u.conv.window;
    if (in->rank != 4 || out->rank != 4 || kernel->rank != 4) return kernel_mismatch(task, "ranks are not 4");
    int64_t size[2];
    window_output(w, &out->dim[1], size);
    if (size[0] != in->dim[1] || size[1] != in->dim[2])
        return kernel_mismatch(task, "height or width disagrees with the window");
    if (task->op->u.conv.groups != 1) return kernel_mismatch(task, "it has groups");
    if (kernel->dim[0] != w->size[0] || kernel->dim[1] != w->size[1] || kernel->dim[2] != out->dim[3] ||
        kernel->dim[3] != in->dim[3])
        return kernel_mismatch(task, "the kernel's shape disagrees");
    if (has_param(task, 1) && count_of(&task->param[1]) != out->dim[3])
        return kernel_mismatch(task, "the bias's shape disagrees");
    if (count_of(kernel) > INT_MAX || in->dim[1] * in->dim[2] > INT_MAX)
        return kernel_mismatch(task, "too large for BLAS");
    return SUCCESS;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t shorter(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static size_t forward_slot(const struct conv_transpose *c) {
    return ((size_t)(c->rows * c->depth) * sizeof(float) + 63) / 64 * 64;
}

/* Bytes of one slot in backward: sums of the bias's gradient, the kernel's gradient, patches. */
static size_t backward_slot(const struct conv_transpose *c) {
    size_t nbytes = (size_t)c->filters * sizeof(double) +
                    (size_t)(c->depth * c->channels + c->rows * c->depth) * sizeof(float);
    return (nbytes + 63) / 64 * 64;
}

static status conv_transpose_prepare(struct task *task) {
    STATUS_TRY(check(task));
    struct conv_transpose *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a transposed convolution", sizeof *c);
    task->plan = c;
    const struct shape *in = &task->in[0], *out = &task->out;
    const struct window *w = &task->op->u.conv.window;
    c->patches = (struct patches){.window = *w,
                                  .height = out->dim[1],
                                  .width = out->dim[2],
                                  .channels = out->dim[3],
                                  .out_width = in->dim[2],
                                  .nchannels = out->dim[3]};
    c->height = in->dim[1];
    c->width = in->dim[2];
    c->channels = in->dim[3];
    c->pixels = c->height * c->width;
    c->filters = out->dim[3];
    c->image = out->dim[1] * out->dim[2] * c->filters;
    c->depth = (int64_t)w->size[0] * w->size[1] * c->filters;
    c->rows = shorter(larger(PIECE_FLOATS / c->depth, PIECE_ROWS_MIN), c->pixels);
    /* Input rows that two bands share are computed twice: an eighth more at most. */
    const int64_t shared = ((int64_t)(w->size[0] - 1) * w->dilation[0] + w->stride[0] - 1) / w->stride[0];
    c->band = larger(larger(c->rows / c->width, 8 * shared), 1) * w->stride[0];
    c->bands = (out->dim[1] + c->band - 1) / c->band;
    c->slots = task->env->batch < task->env->threads ? (int)task->env->batch : task->env->threads;
    task->scratch_forward = (size_t)task->env->threads * forward_slot(c);
    if (task->env->train) task->scratch_backward = (size_t)c->slots * backward_slot(c);
    return SUCCESS;
}

/* ---- forward ---- */

/* Input rows *first..*last-1 reach the output rows top..bottom-1. */
static void rows_reaching(const struct conv_transpose *c, int64_t top, int64_t bottom, int64_t *first,
                          int64_t *last) {
    const struct window *w = &c->patches.window;
    const int64_t reach = (int64_t)(w->size[0] - 1) * w->dilation[0], stride = w->stride[0];
    const int64_t from = top + w->before[0] - reach;
    *first = from > 0 ? (from + stride - 1) / stride : 0;
    *last = shorter((bottom - 1 + w->before[0]) / stride + 1, c->height);
}

static void forward_band(const struct task *task, int64_t sample, int64_t band, float *rows) {
    const struct conv_transpose *c = task->plan;
    const int64_t top = band * c->band, bottom = shorter(top + c->band, c->patches.height);
    const int64_t line = c->patches.width * c->filters;
    const float *x = task->x[0] + sample * c->pixels * c->channels;
    float *y = task->y + sample * c->image + top * line;
    for (int64_t i = 0; i < (bottom - top) * c->patches.width; i++) {
        if (task->w[1]) memcpy(y + i * c->filters, task->w[1], (size_t)c->filters * sizeof *y);
        else memset(y + i * c->filters, 0, (size_t)c->filters * sizeof *y);
    }
    /* The band as an image of its own. */
    struct patches patches = c->patches;
    patches.height = bottom - top;
    patches.window.before[0] += (int)top;
    int64_t first, last;
    rows_reaching(c, top, bottom, &first, &last);
    for (int64_t i = first * c->width; i < last * c->width; i += c->rows) {
        const int64_t end = shorter(i + c->rows, last * c->width);
        gemm(false, true, (int)(end - i), (int)c->depth, (int)c->channels, x + i * c->channels,
             (int)c->channels, task->w[0], (int)c->channels, 0, rows, (int)c->depth);
        col2im_add(&patches, rows, i, end, y);
    }
}

static status conv_transpose_forward(struct task *task) {
    const struct conv_transpose *c = task->plan;
    const int slots = task->env->threads;
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        float *rows = (float *)(void *)((char *)task->scratch + (size_t)slot * forward_slot(c));
        int64_t begin, end;
        slot_range(task->env->batch * c->bands, slots, slot, &begin, &end);
        for (int64_t i = begin; i < end; i++) forward_band(task, i / c->bands, i % c->bands, rows);
    }
    return SUCCESS;
}

/* ---- backward ---- */

static double *slot_memory(const struct task *task, int slot) {
    return (double *)(void *)((char *)task->scratch + (size_t)slot * backward_slot(task->plan));
}

static void backward_sample(const struct task *task, int64_t sample, double *db, float *dw, float *rows) {
    const struct conv_transpose *c = task->plan;
    const float *x = task->x[0] + sample * c->pixels * c->channels, *dy = task->dy + sample * c->image;
    const int channels = (int)c->channels, depth = (int)c->depth;
    if (task->dw[1])
        for (int64_t i = 0; i < c->image; i += c->filters)
            for (int64_t j = 0; j < c->filters; j++) db[j] += dy[i + j];
    if (!task->dw[0] && !task->dx[0]) return;
    for (int64_t i = 0; i < c->pixels; i += c->rows) {
        const int64_t end = shorter(i + c->rows, c->pixels);
        const int n = (int)(end - i);
        im2col(&c->patches, dy, i, end, rows);
        if (task->dw[0])
            gemm(true, false, depth, channels, n, rows, depth, x + i * channels, channels, 1, dw, channels);
        if (task->dx[0])
            gemm(false, false, n, channels, depth, rows, depth, task->w[0], channels, 0,
                 task->dx[0] + (sample * c->pixels + i) * channels, channels);
    }
}

static status conv_transpose_backward(struct task *task) {
    const struct conv_transpose *c = task->plan;
    const int slots = c->slots;
    const int64_t n = c->depth * c->channels;
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        double *db = slot_memory(task, slot);
        float *dw = (float *)(void *)(db + c->filters);
        memset(db, 0, (size_t)c->filters * sizeof *db);
        if (task->dw[0]) memset(dw, 0, (size_t)n * sizeof *dw);
        int64_t begin, end;
        slot_range(task->env->batch, slots, slot, &begin, &end);
        for (int64_t sample = begin; sample < end; sample++) backward_sample(task, sample, db, dw, dw + n);
    }
    for (int slot = 0; slot < slots && task->dw[0]; slot++) {
        const float *dw = (const float *)(const void *)(slot_memory(task, slot) + c->filters);
        for (int64_t i = 0; i < n; i++) task->dw[0][i] = slot ? task->dw[0][i] + dw[i] : dw[i];
    }
    for (int64_t j = 0; j < c->filters && task->dw[1]; j++) {
        double sum = 0;
        for (int slot = 0; slot < slots; slot++) sum += slot_memory(task, slot)[j];
        task->dw[1][j] = (float)sum;
    }
    return SUCCESS;
}

const struct kernel kernel_conv_transpose = {conv_transpose_prepare, conv_transpose_forward,
                                             conv_transpose_backward};

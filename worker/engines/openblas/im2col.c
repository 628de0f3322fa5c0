#include "worker/engines/openblas/im2col.h"

#include <string.h>

/* Taps kx0..kx1-1 of a window row that starts at `left` lie in the image. */
static void taps_inside(const struct patches *p, int64_t left, int *kx0, int *kx1) {
    int64_t dilation = p->window.dilation[1], size = p->window.size[1];
    int64_t lo = left < 0 ? (-left + dilation - 1) / dilation : 0;
    int64_t hi = left < p->width ? (p->width - left + dilation - 1) / dilation : 0;
    if (hi > size) hi = size;
    if (lo > hi) lo = hi;
    *kx0 = (int)lo;
    *kx1 = (int)hi;
}

static void copy(const float *from, int64_t n, float *to) {
    for (int64_t i = 0; i < n; i++) to[i] = from[i];
}

static void add(const float *from, int64_t n, float *to) {
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

void im2col(const struct patches *p, const float *image, int64_t first, int64_t last, float *rows) {
    const struct window *w = &p->window;
    const int64_t n = p->nchannels, line = w->size[1] * n;
    const bool contiguous = w->dilation[1] == 1 && n == p->channels;
    for (int64_t i = first; i < last; i++) {
        int64_t top = i / p->out_width * w->stride[0] - w->before[0];
        int64_t left = i % p->out_width * w->stride[1] - w->before[1];
        int kx0, kx1;
        taps_inside(p, left, &kx0, &kx1);
        for (int ky = 0; ky < w->size[0]; ky++, rows += line) {
            int64_t y = top + (int64_t)ky * w->dilation[0];
            if (y < 0 || y >= p->height || kx0 == kx1) {
                memset(rows, 0, (size_t)line * sizeof *rows);
                continue;
            }
            int64_t from = (y * p->width + left) * p->channels + p->first_channel;
            for (int64_t j = 0; j < kx0 * n; j++) rows[j] = 0;
            if (contiguous) {
                copy(image + (from + kx0 * n), (kx1 - kx0) * n, rows + kx0 * n);
            } else {
                int64_t step = w->dilation[1] * p->channels;
                for (int kx = kx0; kx < kx1; kx++) copy(image + (from + kx * step), n, rows + kx * n);
            }
            for (int64_t j = kx1 * n; j < line; j++) rows[j] = 0;
        }
    }
}

void col2im_add(const struct patches *p, const float *rows, int64_t first, int64_t last, float *image) {
    const struct window *w = &p->window;
    const int64_t n = p->nchannels, line = w->size[1] * n;
    const bool contiguous = w->dilation[1] == 1 && n == p->channels;
    for (int64_t i = first; i < last; i++) {
        int64_t top = i / p->out_width * w->stride[0] - w->before[0];
        int64_t left = i % p->out_width * w->stride[1] - w->before[1];
        int kx0, kx1;
        taps_inside(p, left, &kx0, &kx1);
        for (int ky = 0; ky < w->size[0]; ky++, rows += line) {
            int64_t y = top + (int64_t)ky * w->dilation[0];
            if (y < 0 || y >= p->height) continue;
            int64_t to = (y * p->width + left) * p->channels + p->first_channel;
            if (contiguous) {
                add(rows + kx0 * n, (kx1 - kx0) * n, image + (to + kx0 * n));
            } else {
                int64_t step = w->dilation[1] * p->channels;
                for (int kx = kx0; kx < kx1; kx++) add(rows + kx * n, n, image + (to + kx * step));
            }
        }
    }
}

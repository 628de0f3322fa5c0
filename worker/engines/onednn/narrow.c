#include "worker/engines/onednn/narrow.h"

#include <string.h>

/* As in winograd.c. The compiler does not find the instructions that repeat floats by itself. */
#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#define NARROW_BUILT
#include <immintrin.h>
enum { BUILT = 1 };
#else
enum { BUILT = 0 };
#endif

enum {
    PIXELS = VEC == 16 ? 16 : 8, /* outputs computed together: their sums stay in registers */
    UNROLL = 4                   /* at most */
};

#define INLINE static inline __attribute__((always_inline))

static int64_t taps(const struct conv_shape *s) {
    return (int64_t)s->window.size[0] * s->window.size[1];
}

/* Least products of an output that pay for finding its window; where filters leave lanes empty. */
enum { MIN_PRODUCTS = 16, MIN_PRODUCTS_SPARSE = 64 };

bool narrow_built(void) {
    return BUILT;
}

bool narrow_make(const struct conv_shape *s, int threads, struct narrow *w) {
    *w = (struct narrow){.shape = *s, .lanes = 1, .threads = threads, .points = taps(s) == 1};
    while (w->lanes < VEC && (w->lanes < s->filters || s->channels % (VEC / w->lanes))) w->lanes *= 2;
    w->group = VEC / w->lanes;
    for (int i = 0; i < 2; i++) w->points = w->points && s->window.before[i] == 0 && s->in[i] == s->out[i];
    const bool whole = w->lanes == s->filters;
    return BUILT && w->group > 1 && !s->depthwise && s->groups == 1 &&
           taps(s) * s->channels >= (whole ? MIN_PRODUCTS : MIN_PRODUCTS_SPARSE);
}

/* Vectors of each tap and group of channels; a pixel of zeros, for the padding; a vector of biases. */
static size_t zeros_at(const struct narrow *w) {
    return (size_t)(taps(&w->shape) * (w->shape.channels / w->group) * VEC);
}

static size_t bias_at(const struct narrow *w) {
    return zeros_at(w) + (size_t)w->shape.channels;
}

size_t narrow_weights(const struct narrow *w) {
    return bias_at(w) + VEC;
}

void narrow_pack(const struct narrow *w, const float *kernel, const float *bias, float *weights) {
    const int64_t filters = w->shape.filters, rows = taps(&w->shape) * w->shape.channels;
    memset(weights, 0, narrow_weights(w) * sizeof *weights);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t m = 0; m < filters; m++)
            weights[i / w->group * VEC + m * w->group + i % w->group] = kernel[i * filters + m];
    for (int i = 0; bias && i < VEC; i++)
        if (i % w->lanes < filters) weights[bias_at(w) + (size_t)i] = bias[i % w->lanes];
}

#ifdef NARROW_BUILT

#if VEC == 16

/* `group` floats, repeated. */
INLINE vec repeated(const int group, const float *x) {
    double two;
    switch (group) {
    case 2:
        memcpy(&two, x, sizeof two);
        return (vec)_mm512_castpd_ps(_mm512_set1_pd(two));
    case 4:
        return (vec)_mm512_broadcast_f32x4(_mm_loadu_ps(x));
    case 8:
        return (vec)_mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(x))));
    default:
        return (vec)_mm512_loadu_ps(x);
    }
}

/* Sums of two neighbours each, of a, then of b. */
INLINE vec add_pairs(vec a, vec b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return (vec)_mm512_permutex2var_ps((__m512)a, even, (__m512)b) +
           (vec)_mm512_permutex2var_ps((__m512)a, odd, (__m512)b);
}

#else

INLINE vec repeated(const int group, const float *x) {
    double two;
    switch (group) {
    case 2:
        memcpy(&two, x, sizeof two);
        return (vec)_mm256_castpd_ps(_mm256_set1_pd(two));
    case 4:
        return (vec)_mm256_broadcast_ps((const __m128 *)(const void *)x);
    default:
        return (vec)_mm256_loadu_ps(x);
    }
}

INLINE vec add_pairs(vec a, vec b) {
    const __m256d mixed = _mm256_castps_pd(_mm256_hadd_ps((__m256)a, (__m256)b));
    return (vec)_mm256_castpd_ps(_mm256_permute4x64_pd(mixed, 0xd8));
}

#endif

/* sum[p] += products of `channels` floats at x[p] + further and their weights. */
INLINE void add_run(const int group, int64_t channels, const float *const *x, int64_t further,
                    const float *weights, vec sum[PIXELS]) {
    const int unroll = group > 2 ? 2 : UNROLL;
    const int64_t unrolled = channels - channels % (unroll * group);
    for (int64_t c = 0; c < unrolled; c += unroll * group) {
        vec w[UNROLL];
#pragma GCC unroll 4
        for (int u = 0; u < unroll; u++) w[u] = *(const vec *)(weights + (c / group + u) * VEC);
#pragma GCC unroll 16
        for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
            for (int u = 0; u < unroll; u++) sum[p] += repeated(group, x[p] + further + c + u * group) * w[u];
    }
    for (int64_t c = unrolled; c < channels; c += group) {
        const vec w = *(const vec *)(weights + c / group * VEC);
#pragma GCC unroll 16
        for (int p = 0; p < PIXELS; p++) sum[p] += repeated(group, x[p] + further + c) * w;
    }
}

/* Adds up the `group` sums of each filter: PIXELS / group vectors of results, one pixel after the other. */
INLINE void add_groups(const int group, vec sum[PIXELS]) {
    int n = PIXELS;
#pragma GCC unroll 4
    for (int g = group; g > 1; g /= 2) {
        n /= 2;
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) sum[i] = add_pairs(sum[2 * i], sum[2 * i + 1]);
    }
}

/* The window of each pixel. */
struct block {
    int64_t row[PIXELS], column[PIXELS]; /* where it begins */
    const float *x[PIXELS];
    bool inside; /* no window meets the padding */
};

/* How far a window that begins at (row, column) is from the edges; negative: it meets the padding. */
static int64_t inside(const struct conv_shape *s, int64_t row, int64_t column) {
    const struct window *w = &s->window;
    const int64_t below = s->in[0] - 1 - row - (w->size[0] - 1) * w->dilation[0],
                  beside = s->in[1] - 1 - column - (w->size[1] - 1) * w->dilation[1];
    return row | column | below | beside; /* its sign is that of the least */
}

/* Pixels of one row, from the one whose window begins at (row, column) of an image at `x`. */
static void find_run(const struct conv_shape *s, int64_t row, int64_t column, const float *x,
                     struct block *b) {
    const int64_t step = s->window.stride[1];
    x += (row * s->in[1] + column) * s->channels;
    b->inside = (inside(s, row, column) | inside(s, row, column + (PIXELS - 1) * step)) >= 0;
    for (int p = 0; p < PIXELS; p++) {
        b->row[p] = row;
        b->column[p] = column + p * step;
        b->x[p] = x + p * step * s->channels;
    }
}

/* Pixels first..last-1 of all samples; what is missing to PIXELS repeats the last one. */
static void find_pixels(const struct conv_shape *s, int64_t first, int64_t last, const float *x,
                        struct block *b) {
    const struct window *w = &s->window;
    const int64_t image = s->in[0] * s->in[1] * s->channels;
    int64_t row = first / s->out[1] % s->out[0], column = first % s->out[1], edges = 0;
    x += first / (s->out[0] * s->out[1]) * image;
    if (column + PIXELS <= s->out[1]) {
        find_run(s, row * w->stride[0] - w->before[0], column * w->stride[1] - w->before[1], x, b);
        return;
    }
    for (int p = 0; p < PIXELS; p++) {
        b->row[p] = row * w->stride[0] - w->before[0];
        b->column[p] = column * w->stride[1] - w->before[1];
        b->x[p] = x + (b->row[p] * s->in[1] + b->column[p]) * s->channels;
        edges |= inside(s, b->row[p], b->column[p]);
        if (first + p + 1 >= last || ++column < s->out[1]) continue;
        column = 0;
        if (++row < s->out[0]) continue;
        row = 0;
        x += image;
    }
    b->inside = edges >= 0;
}

/* at[p]: the channels at a tap of each window, or zeros. */
static void find_tap(const struct conv_shape *s, const struct block *b, int64_t down, int64_t right,
                     const float *zeros, const float **at) {
    const uint64_t height = (uint64_t)s->in[0], width = (uint64_t)s->in[1];
    const int64_t tap = (down * s->in[1] + right) * s->channels;
    for (int p = 0; p < PIXELS; p++) {
        const bool there =
            ((uint64_t)(b->row[p] + down) < height) & ((uint64_t)(b->column[p] + right) < width);
        at[p] = there ? b->x[p] + tap : zeros;
    }
}

/* Of a 1x1 convolution of stride 1 without padding. */
static void find_points(const struct conv_shape *s, int64_t first, int64_t last, const float *x,
                        const float **at) {
    for (int p = 0; p < PIXELS; p++) at[p] = x + (first + p < last ? first + p : last - 1) * s->channels;
}

/* A row of a window that meets no padding lies together in memory. */
INLINE void add_inside(const int group, const struct conv_shape *s, const struct block *b,
                       const float *weights, vec sum[PIXELS]) {
    const bool together = s->window.dilation[1] == 1;
    const int64_t run = s->channels * (together ? s->window.size[1] : 1);
    for (int i = 0; i < s->window.size[0]; i++)
        for (int j = 0; j < (together ? 1 : s->window.size[1]); j++) {
            const int64_t down = i * s->window.dilation[0], right = j * s->window.dilation[1];
            add_run(group, run, b->x, (down * s->in[1] + right) * s->channels, weights, sum);
            weights += run / group * VEC;
        }
}

INLINE void add_clipped(const int group, const struct conv_shape *s, const struct block *b,
                        const float *weights, const float *zeros, vec sum[PIXELS]) {
    const float *at[PIXELS];
    for (int i = 0; i < s->window.size[0]; i++)
        for (int j = 0; j < s->window.size[1]; j++) {
            find_tap(s, b, i * s->window.dilation[0], j * s->window.dilation[1], zeros, at);
            add_run(group, s->channels, at, 0, weights, sum);
            weights += s->channels / group * VEC;
        }
}

static inline vec finished(const struct clamp *clamp, vec v) {
    return clamp->on ? clamp_vec(clamp, v) : v;
}

/* Results of pixels that are all there and whose filters fill the vectors. */
INLINE void store_whole(const int group, const vec *sum, vec bias, const float *addend,
                        const struct clamp *clamp, float *y) {
#pragma GCC unroll 16
    for (int i = 0; i < PIXELS / group; i++) {
        vec v = sum[i] + bias;
        if (addend) v += *(const vec *)(addend + i * VEC);
        *(vec *)(y + i * VEC) = finished(clamp, v);
    }
}

static void store_part(const struct narrow *w, int64_t pixels, const vec *sum, vec bias, const float *addend,
                       const struct clamp *clamp, float *y) {
    const int64_t filters = w->shape.filters;
    float v[PIXELS * VEC];
    for (int i = 0; i < PIXELS / w->group; i++) *(vec *)(v + i * VEC) = sum[i] + bias;
    for (int64_t p = 0; addend && p < pixels; p++)
        for (int64_t m = 0; m < filters; m++) v[p * w->lanes + m] += addend[p * filters + m];
    for (int i = 0; i < PIXELS / w->group; i++)
        *(vec *)(v + i * VEC) = finished(clamp, *(vec *)(v + i * VEC));
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t m = 0; m < filters; m++) y[p * filters + m] = v[p * w->lanes + m];
}

INLINE void run_block(const int group, const struct narrow *w, const float *x, const float *weights,
                      int64_t first, int64_t last, const float *addend, const struct clamp *clamp, float *y) {
    const struct conv_shape *s = &w->shape;
    struct block b;
    vec sum[PIXELS];
#pragma GCC unroll 16
    for (int p = 0; p < PIXELS; p++) sum[p] = (vec){0};
    if (w->points) {
        find_points(s, first, last, x, b.x);
        add_run(group, s->channels, b.x, 0, weights, sum);
    } else {
        find_pixels(s, first, last, x, &b);
        if (b.inside) add_inside(group, s, &b, weights, sum);
        else add_clipped(group, s, &b, weights, weights + zeros_at(w), sum);
    }
    add_groups(group, sum);
    const vec bias = *(const vec *)(weights + bias_at(w));
    y += first * s->filters;
    if (addend) addend += first * s->filters;
    if (last - first == PIXELS && s->filters == w->lanes) store_whole(group, sum, bias, addend, clamp, y);
    else store_part(w, last - first, sum, bias, addend, clamp, y);
}

static void run_any(const struct narrow *w, const float *x, const float *weights, int64_t first, int64_t last,
                    const float *addend, const struct clamp *clamp, float *y) {
    switch (w->group) {
    case 2:
        run_block(2, w, x, weights, first, last, addend, clamp, y);
        break;
    case 4:
        run_block(4, w, x, weights, first, last, addend, clamp, y);
        break;
    case 8:
        run_block(8, w, x, weights, first, last, addend, clamp, y);
        break;
    default:
        run_block(VEC, w, x, weights, first, last, addend, clamp, y);
        break;
    }
}

void narrow_run(const struct narrow *w, const float *x, const float *weights, const float *addend,
                const struct clamp *clamp, float *y) {
    const int64_t pixels = w->shape.n * w->shape.out[0] * w->shape.out[1];
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t first = 0; first < pixels; first += PIXELS)
        run_any(w, x, weights, first, first + PIXELS < pixels ? first + PIXELS : pixels, addend, clamp, y);
}

#else

void narrow_run(const struct narrow *w, const float *x, const float *weights, const float *addend,
                const struct clamp *clamp, float *y) {
    (void)w, (void)x, (void)weights, (void)addend, (void)clamp, (void)y; /* see narrow_make */
}

#endif

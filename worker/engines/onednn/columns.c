#include "worker/engines/onednn/columns.h"

#include <string.h>

enum {
    VECTORS = COLUMNS_TILE / VEC,
    RUN = 64 /* rows summed in float before going to double */
};

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

struct columns columns_make(int64_t count, int64_t channels, int threads) {
    struct columns c = {.channels = channels, .threads = threads};
    c.width = channels / gcd(channels, COLUMNS_TILE) * COLUMNS_TILE;
    c.rows = count / c.width;
    c.tail = count % c.width;
    return c;
}

void columns_spread(const struct columns *columns, const float *channel, float *wide) {
    for (int64_t i = 0; i < columns->width; i += columns->channels)
        memcpy(wide + i, channel, (size_t)columns->channels * sizeof *wide);
}

size_t columns_parts(const struct columns *columns) {
    return (size_t)columns->threads * 2 * (size_t)columns->width;
}

bool clamp_of(const struct op *act, struct clamp *clamp) {
    *clamp = CLAMP_NONE;
    if (!act || act->u.act.kind == ACTIVATION_LINEAR) return true;
    if (act->u.act.kind != ACTIVATION_RELU || act->u.act.gamma != 0) return false;
    if (!(act->u.act.alpha >= 0) || !(act->u.act.beta > 0)) return false;
    *clamp = (struct clamp){.on = true, .slope = act->u.act.alpha, .max = act->u.act.beta};
    return true;
}

static bool plain_relu(const struct clamp *c) {
    return c->on && c->slope == 0 && isinf(c->max);
}

/* Rows of thread `t`: [*begin, *end). */
static void split(int64_t rows, int threads, int t, int64_t *begin, int64_t *end) {
    *begin = rows * t / threads;
    *end = rows * (t + 1) / threads;
}

/* ---- elementwise ---- */

/* Rows [begin, end) and, for the last thread, the tail: as runs of at most `width` elements. `body` sees the
 * pointers' offset `at` and the number of elements `n`. */
#define FOR_ROWS(columns, t, at, n)                                                                          \
    for (int64_t begin_, end_,                                                                               \
         row_ = (split((columns)->rows, (columns)->threads, (t), &begin_, &end_), begin_), at, n;            \
         at = row_ * (columns)->width,                                                                       \
         n = row_ < end_ ? (columns)->width                                                                  \
                         : (row_ == end_ && (t) == (columns)->threads - 1 ? (columns)->tail : 0),            \
         n > 0;                                                                                              \
         row_++)

static void affine_row(int64_t n, const struct clamp *c, bool relu, const float *x,
                       const float *restrict mean, const float *restrict scale, const float *restrict shift,
                       float *y) {
    if (relu) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float v = (x[i] - mean[i]) * scale[i] + shift[i];
            y[i] = v < 0 ? 0 : v;
        }
    } else if (!c->on) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean[i]) * scale[i] + shift[i];
    } else {
        const struct clamp k = *c;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float v = (x[i] - mean[i]) * scale[i] + shift[i];
            y[i] = clamp_value(&k, v);
        }
    }
}

void columns_affine(const struct columns *columns, const struct clamp *clamp, const float *x,
                    const float *mean, const float *scale, const float *shift, float *y) {
    const bool relu = plain_relu(clamp);
#pragma omp parallel for num_threads(columns->threads) schedule(static, 1)
    for (int t = 0; t < columns->threads; t++)
        FOR_ROWS(columns, t, at, n) affine_row(n, clamp, relu, x + at, mean, scale, shift, y + at);
}

static void backward_row(int64_t n, const struct clamp *c, bool relu, const float *x, const float *dy,
                         const float *restrict mean, const float *restrict scale, const float *restrict shift,
                         const float *restrict slope, const float *restrict offset, bool add, float *dx) {
    const struct clamp k = *c;
    if (relu && !add) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float u = x[i] - mean[i], v = u * scale[i] + shift[i];
            float g = v > 0 ? dy[i] : 0;
            dx[i] = g * scale[i] + (u * slope[i] + offset[i]);
        }
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float u = x[i] - mean[i], v = u * scale[i] + shift[i];
        float r = dy[i] * clamp_slope(&k, v) * scale[i] + (u * slope[i] + offset[i]);
        dx[i] = add ? dx[i] + r : r;
    }
}

void columns_norm_backward(const struct columns *columns, const struct clamp *clamp, const float *x,
                           const float *dy, const float *mean, const float *scale, const float *shift,
                           const float *slope, const float *offset, bool add, float *dx) {
    const bool relu = plain_relu(clamp);
#pragma omp parallel for num_threads(columns->threads) schedule(static, 1)
    for (int t = 0; t < columns->threads; t++) FOR_ROWS(columns, t, at, n)
    backward_row(n, clamp, relu, x + at, dy + at, mean, scale, shift, slope, offset, add, dx + at);
}

void columns_bias(const struct columns *columns, const struct clamp *clamp, const float *bias, float *y) {
    const struct clamp k = *clamp;
    if (!bias && !k.on) return;
#pragma omp parallel for num_threads(columns->threads) schedule(static, 1)
    for (int t = 0; t < columns->threads; t++) FOR_ROWS(columns, t, at, n) {
            float *restrict p = y + at;
            if (bias)
#pragma omp simd
                for (int64_t i = 0; i < n; i++) p[i] += bias[i];
            if (k.on)
#pragma omp simd
                for (int64_t i = 0; i < n; i++) p[i] = clamp_value(&k, p[i]);
        }
}

void array_add(int64_t count, int threads, const struct clamp *clamp, const float *a, const float *b,
               float *y) {
    const struct clamp k = *clamp;
#pragma omp parallel for simd num_threads(threads) schedule(static) if (count > 16384)
    for (int64_t i = 0; i < count; i++) {
        float v = a[i] + b[i];
        y[i] = k.on ? clamp_value(&k, v) : v;
    }
}

bool array_finite(int64_t count, const float *v) {
    typedef int32_t word __attribute__((may_alias));
    const word exponent = 0x7f800000, *bits = (const word *)v;
    int32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < count; i++) bad |= (bits[i] & exponent) == exponent;
    return !bad;
}

/* ---- sums ---- */

/* Adds one tile of float sums to the thread's doubles. */
static inline void flush(const vec *a, double *restrict sums) {
    const float *restrict f = (const float *)a;
#pragma omp simd
    for (int i = 0; i < COLUMNS_TILE; i++) sums[i] += (double)f[i];
}

/* Sum over threads and over the columns of a channel: parts is [threads][2][width]. */
static void fold(const struct columns *columns, int nsums, const double *parts, double *sums) {
    const int64_t c = columns->channels, w = columns->width;
    memset(sums, 0, (size_t)(nsums * c) * sizeof *sums);
    for (int t = 0; t < columns->threads; t++)
        for (int s = 0; s < nsums; s++)
            for (int64_t i = 0; i < w; i += c)
                for (int64_t j = 0; j < c; j++) sums[s * c + j] += parts[(t * 2 + s) * w + i + j];
}

/* For every thread: clears its sums a[width] and b[width], then runs `tile` for each tile of at most RUN rows
 * of its range, then `tail`. */
#define PARALLEL_SUMS(columns, parts, tile, tail_element)                                                    \
    _Pragma("omp parallel for num_threads(columns->threads) schedule(static, 1)") for (int t = 0;            \
                                                                                       t < columns->threads; \
                                                                                       t++) {                \
        const int64_t width = columns->width;                                                                \
        double *a = parts + (int64_t)t * 2 * width, *b = a + width;                                          \
        int64_t begin, end;                                                                                  \
        memset(a, 0, 2 * (size_t)width * sizeof *a);                                                         \
        split(columns->rows, columns->threads, t, &begin, &end);                                             \
        for (int64_t row = begin; row < end; row += RUN) {                                                   \
            const int64_t n = end - row < RUN ? end - row : RUN;                                             \
            for (int64_t col = 0; col < width; col += COLUMNS_TILE) tile;                                    \
        }                                                                                                    \
        if (t == columns->threads - 1)                                                                       \
            for (int64_t i = 0; i < columns->tail; i++) {                                                    \
                const int64_t at = columns->rows * width + i;                                                \
                tail_element;                                                                                \
            }                                                                                                \
    }

static inline void moments_tile(const float *x, int64_t width, int64_t n, const float *mean, double *sum,
                                double *square) {
    vec a[VECTORS] = {{0}}, b[VECTORS] = {{0}}, m[VECTORS];
    for (int j = 0; j < VECTORS; j++) m[j] = ((const vec *)mean)[j];
    for (int64_t r = 0; r < n; r++, x += width)
        for (int j = 0; j < VECTORS; j++) {
            vec u = ((const vec *)x)[j] - m[j];
            a[j] += u;
            b[j] += u * u;
        }
    flush(a, sum);
    flush(b, square);
}

void columns_moments(const struct columns *columns, const float *x, const float *mean, double *parts,
                     double *sums) {
    PARALLEL_SUMS(columns, parts, moments_tile(x + row * width + col, width, n, mean + col, a + col, b + col),
                  {
                      double u = (double)x[at] - (double)mean[i];
                      a[i] += u;
                      b[i] += u * u;
                  })
    fold(columns, 2, parts, sums);
}

static inline void relu_tile(const float *x, const float *dy, int64_t width, int64_t n, const float *mean,
                             const float *scale, const float *shift, double *sum, double *product) {
    vec a[VECTORS] = {{0}}, b[VECTORS] = {{0}}, m[VECTORS], s[VECTORS], h[VECTORS];
    for (int j = 0; j < VECTORS; j++) {
        m[j] = ((const vec *)mean)[j];
        s[j] = ((const vec *)scale)[j];
        h[j] = ((const vec *)shift)[j];
    }
    for (int64_t r = 0; r < n; r++, x += width, dy += width)
        for (int j = 0; j < VECTORS; j++) {
            vec u = ((const vec *)x)[j] - m[j], v = u * s[j] + h[j];
            vec g = (vec)((veci)((const vec *)dy)[j] & (veci)(v > 0));
            a[j] += g;
            b[j] += g * u;
        }
    flush(a, sum);
    flush(b, product);
}

/* The same for any clamp. */
static inline void clamp_tile(const struct clamp *clamp, const float *x, const float *dy, int64_t width,
                              int64_t n, const float *mean, const float *scale, const float *shift,
                              double *sum, double *product) {
    float a[COLUMNS_TILE] = {0}, b[COLUMNS_TILE] = {0};
    const struct clamp k = *clamp;
    for (int64_t r = 0; r < n; r++, x += width, dy += width) {
#pragma omp simd
        for (int j = 0; j < COLUMNS_TILE; j++) {
            float u = x[j] - mean[j], v = u * scale[j] + shift[j];
            float g = dy[j] * clamp_slope(&k, v);
            a[j] += g;
            b[j] += g * u;
        }
    }
    for (int j = 0; j < COLUMNS_TILE; j++) {
        sum[j] += (double)a[j];
        product[j] += (double)b[j];
    }
}

void columns_norm_sums(const struct columns *columns, const struct clamp *clamp, const float *x,
                       const float *dy, const float *mean, const float *scale, const float *shift,
                       double *parts, double *sums) {
    const bool relu = plain_relu(clamp);
    PARALLEL_SUMS(
        columns, parts,
        {
            const int64_t at = row * width + col;
            if (relu)
                relu_tile(x + at, dy + at, width, n, mean + col, scale + col, shift + col, a + col, b + col);
            else
                clamp_tile(clamp, x + at, dy + at, width, n, mean + col, scale + col, shift + col, a + col,
                           b + col);
        },
        {
            float u = x[at] - mean[i];
            double g = (double)(dy[at] * clamp_slope(clamp, u * scale[i] + shift[i]));
            a[i] += g;
            b[i] += g * (double)u;
        })
    fold(columns, 2, parts, sums);
}

static inline void mask_tile(const struct clamp *clamp, bool relu, const float *y, float *dy, int64_t width,
                             int64_t n, double *sum) {
    vec a[VECTORS] = {{0}};
    for (int64_t r = 0; r < n; r++, y += width, dy += width) {
        if (clamp->on && !relu)
#pragma omp simd
            for (int j = 0; j < COLUMNS_TILE; j++) dy[j] *= clamp_slope(clamp, y[j]);
        for (int j = 0; j < VECTORS; j++) {
            vec g = ((const vec *)dy)[j];
            if (relu) {
                g = (vec)((veci)g & (veci)(((const vec *)y)[j] > 0));
                ((vec *)dy)[j] = g;
            }
            a[j] += g;
        }
    }
    flush(a, sum);
}

void columns_mask(const struct columns *columns, const struct clamp *clamp, const float *y, float *dy,
                  double *parts, double *sums) {
    const bool relu = plain_relu(clamp);
    if (!sums && !clamp->on) return;
    PARALLEL_SUMS(
        columns, parts,
        {
            const int64_t at = row * width + col;
            mask_tile(clamp, relu, y + at, dy + at, width, n, a + col);
        },
        {
            (void)b;
            dy[at] *= clamp_slope(clamp, y[at]);
            a[i] += (double)dy[at];
        })
    if (sums) fold(columns, 1, parts, sums);
}

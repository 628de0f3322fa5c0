#include "worker/engines/onednn/winograd.h"
#include "worker/engines/product.h"
#include "worker/engines/vector.h"

#include <string.h>

enum {
    IN = 6,   /* side of a tile of inputs */
    OUT = 4,  /* of outputs, at most */
    SIDE = 5, /* of kernels, at most */
    POINTS = 36,
    PANEL = 32,     /* filters whose weights lie together */
    CACHE = 640000, /* bytes of transformed tiles that stay near the core */
    MIN_BLOCK = 32,
    MAX_BLOCK = 96,
    MIN_TILES = 4
};

/* Least ratio of multiplications by the definition to those done here. */
static const double MIN_GAIN = 1.5;

/* Are the plain vectors of this build a match for oneDNN, which finds the processor's best at run time? */
#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
enum { FAST = 1 };
#else
enum { FAST = 0 };
#endif

#define INLINE static inline __attribute__((always_inline))

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

bool winograd_built(void) {
    return FAST;
}

/* Multiplications along one dimension that do not meet padding. */
static int64_t taps(const struct winograd *w, int dim) {
    int64_t n = 0;
    for (int64_t i = 0; i < w->out[dim]; i++)
        for (int64_t k = i - w->before[dim]; k < i - w->before[dim] + w->side; k++)
            n += k >= 0 && k < w->in[dim];
    return n;
}

bool winograd_make(const struct conv_shape *s, bool transposed, int threads, struct winograd *w) {
    *w = (struct winograd){
        .n = s->n, .channels = s->channels, .filters = s->filters, .transposed = transposed};
    w->threads = threads;
    const struct window *window = &s->window;
    w->side = window->size[0];
    w->tile = IN + 1 - w->side;
    if (!FAST || s->depthwise || s->groups != 1 || s->channels % 16 || s->filters % 16) return false;
    if (w->side != 3 && w->side != 5) return false;
    for (int i = 0; i < 2; i++) {
        if (window->size[i] != w->side || window->stride[i] != 1 || window->dilation[i] != 1) return false;
        if (window->before[i] >= w->side) return false;
        w->in[i] = s->in[i];
        w->out[i] = s->out[i];
        w->before[i] = window->before[i];
    }
    if (transposed) {
        w->channels = s->filters;
        w->filters = s->channels;
        for (int i = 0; i < 2; i++) {
            w->in[i] = s->out[i];
            w->out[i] = s->in[i];
            w->before[i] = w->side - 1 - window->before[i];
        }
    }
    w->across[0] = ceil_div(w->out[0], w->tile);
    w->across[1] = ceil_div(w->out[1], w->tile);
    w->tiles = w->n * w->across[0] * w->across[1];
    int64_t most = CACHE / (int64_t)(POINTS * sizeof(float)) / (w->channels + w->filters);
    most = most < MIN_BLOCK ? MIN_BLOCK : most > MAX_BLOCK ? MAX_BLOCK : most;
    const int64_t rounds = ceil_div(w->tiles, most * threads);
    w->block = ceil_div(w->tiles, rounds * threads);
    w->nblocks = ceil_div(w->tiles, w->block);
    /* Few tiles do not pay for reading the transformed weights; at odd sizes too much of them is overhang. */
    const double direct = (double)(taps(w, 0) * taps(w, 1)),
                 here = (double)(w->across[0] * w->across[1] * POINTS);
    return w->block >= MIN_TILES && direct > MIN_GAIN * here;
}

size_t winograd_weights(const struct winograd *w) {
    return POINTS * (size_t)(w->channels * w->filters);
}

/* From a point of a block's tiles to the next. A power of two would put what is used together into the same
 * few places of the cache. */
static int64_t stride_of(const struct winograd *w, int64_t channels) {
    return w->block * channels + VEC;
}

static size_t block_floats(const struct winograd *w) {
    return POINTS * (size_t)(stride_of(w, w->channels) + stride_of(w, w->filters));
}

size_t winograd_scratch(const struct winograd *w) {
    const size_t turned = w->transposed ? (size_t)(w->side * w->side * w->channels * w->filters) : 0;
    const size_t blocks = block_floats(w) * (size_t)w->threads;
    return turned > blocks ? turned : blocks;
}

size_t winograd_gradient_scratch(const struct winograd *w) {
    return (block_floats(w) + winograd_weights(w)) * (size_t)w->threads;
}

/* ---- transforms of one vector of channels, one dimension ---- */

INLINE void inputs_1d(const vec d[IN], vec t[IN]) {
    const vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    t[0] = 4 * d[0] - 5 * d[2] + d[4];
    t[1] = a + b;
    t[2] = a - b;
    t[3] = c + e;
    t[4] = c - e;
    t[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/* The last of the outputs has the value at infinity. */
INLINE void outputs_1d(int out, const vec m[IN], vec y[OUT]) {
    const vec s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] + s1 + s2;
    y[1] = d1 + 2 * d2;
    if (out > 2) {
        y[2] = s1 + 4 * s2;
        y[3] = d1 + 8 * d2;
    }
    y[out - 1] += m[5];
}

/* Transpose of outputs_1d. */
INLINE void output_grads_1d(int out, const vec y[OUT], vec m[IN]) {
    vec e1 = y[0], o1 = y[1], e2 = y[0], o2 = 2 * y[1];
    if (out > 2) {
        e1 += y[2];
        o1 += y[3];
        e2 += 4 * y[2];
        o2 += 8 * y[3];
    }
    m[0] = y[0];
    m[1] = e1 + o1;
    m[2] = e1 - o1;
    m[3] = e2 + o2;
    m[4] = e2 - o2;
    m[5] = y[out - 1];
}

INLINE void kernel_1d(int side, const vec g[SIDE], vec u[IN]) {
    vec e1 = g[0] + g[2], o1 = g[1];
    vec e2 = g[0] * (1.0F / 24) + g[2] * (1.0F / 6), o2 = g[1] * (1.0F / 12);
    if (side > 3) {
        e1 += g[4];
        o1 += g[3];
        e2 += g[4] * (2.0F / 3);
        o2 += g[3] * (1.0F / 3);
    }
    e1 *= -1.0F / 6;
    o1 *= -1.0F / 6;
    u[0] = g[0] * 0.25F;
    u[1] = e1 + o1;
    u[2] = e1 - o1;
    u[3] = e2 + o2;
    u[4] = e2 - o2;
    u[5] = g[side - 1];
}

/* Transpose of kernel_1d. */
INLINE void kernel_grad_1d(int side, const vec u[IN], vec g[SIDE]) {
    const vec s1 = (u[1] + u[2]) * (1.0F / 6), d1 = (u[1] - u[2]) * (1.0F / 6), s2 = u[3] + u[4],
              d2 = u[3] - u[4];
    g[0] = u[0] * 0.25F - s1 + s2 * (1.0F / 24);
    g[1] = d2 * (1.0F / 12) - d1;
    g[2] = s2 * (1.0F / 6) - s1;
    if (side > 3) {
        g[3] = d2 * (1.0F / 3) - d1;
        g[4] = s2 * (2.0F / 3) - s1;
    }
    g[side - 1] += u[5];
}

/* ---- tiles ---- */

/* Where tile `t` begins: image, first output row and column. */
static void tile_at(const struct winograd *w, int64_t t, int64_t *image, int64_t *row, int64_t *column) {
    const int64_t per_image = w->across[0] * w->across[1], i = t % per_image;
    *image = t / per_image;
    *row = i / w->across[1] * w->tile;
    *column = i % w->across[1] * w->tile;
}

/* Transforms the inputs of one tile to v[point*stride + channel]. */
static void transform_inputs(const struct winograd *w, const float *x, int64_t t, float *v, int64_t stride) {
    int64_t image, row, column;
    tile_at(w, t, &image, &row, &column);
    row -= w->before[0];
    column -= w->before[1];
    const float *base = x + image * w->in[0] * w->in[1] * w->channels;
    const float *source[IN][IN]; /* NULL in the padding */
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < IN; j++) {
            const int64_t r = row + i, c = column + j;
            const bool inside = r >= 0 && r < w->in[0] && c >= 0 && c < w->in[1];
            source[i][j] = inside ? base + (r * w->in[1] + c) * w->channels : NULL;
        }
    for (int64_t c = 0; c < w->channels; c += VEC) {
        vec half[IN][IN];
        for (int j = 0; j < IN; j++) {
            vec d[IN], u[IN];
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++) d[i] = source[i][j] ? *(const vec *)(source[i][j] + c) : (vec){0};
            inputs_1d(d, u);
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++) half[i][j] = u[i];
        }
        for (int i = 0; i < IN; i++) {
            vec u[IN];
            inputs_1d(half[i], u);
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++) *(vec *)(v + (i * IN + j) * stride + c) = u[j];
        }
    }
}

/* Transforms the gradients of one tile's outputs to m[point*stride + filter]. */
INLINE void transform_output_grads(const struct winograd *w, int out, const float *dy, int64_t t, float *m,
                                   int64_t stride) {
    int64_t image, row, column;
    tile_at(w, t, &image, &row, &column);
    const float *base = dy + ((image * w->out[0] + row) * w->out[1] + column) * w->filters;
    const int64_t rows = w->out[0] - row, columns = w->out[1] - column;
    for (int64_t c = 0; c < w->filters; c += VEC) {
        vec half[IN][OUT];
        for (int j = 0; j < out; j++) {
            vec y[OUT], u[IN];
#pragma GCC unroll 4
            for (int i = 0; i < out; i++)
                y[i] = i < rows && j < columns ? *(const vec *)(base + (i * w->out[1] + j) * w->filters + c)
                                               : (vec){0};
            output_grads_1d(out, y, u);
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++) half[i][j] = u[i];
        }
        for (int i = 0; i < IN; i++) {
            vec u[IN];
            output_grads_1d(out, half[i], u);
#pragma GCC unroll 6
            for (int j = 0; j < IN; j++) *(vec *)(m + (i * IN + j) * stride + c) = u[j];
        }
    }
}

struct epilogue {
    const float *bias, *addend;
    struct clamp clamp;
};

INLINE vec finish(const struct epilogue *e, vec v, int64_t filter, int64_t at) {
    if (e->bias) v += *(const vec *)(e->bias + filter);
    if (e->addend) v += *(const vec *)(e->addend + at);
    return e->clamp.on ? clamp_vec(&e->clamp, v) : v;
}

/* Transforms the products m[point*stride + filter] of one tile back and finishes its outputs. */
INLINE void transform_outputs(const struct winograd *w, int out, const struct epilogue *e, const float *m,
                              int64_t stride, int64_t t, float *y) {
    int64_t image, row, column;
    tile_at(w, t, &image, &row, &column);
    const int64_t base = ((image * w->out[0] + row) * w->out[1] + column) * w->filters;
    const int64_t rows = w->out[0] - row, columns = w->out[1] - column;
    for (int64_t c = 0; c < w->filters; c += VEC) {
        vec half[OUT][IN];
        for (int j = 0; j < IN; j++) {
            vec d[IN], u[OUT];
#pragma GCC unroll 6
            for (int i = 0; i < IN; i++) d[i] = *(const vec *)(m + (i * IN + j) * stride + c);
            outputs_1d(out, d, u);
#pragma GCC unroll 4
            for (int i = 0; i < out; i++) half[i][j] = u[i];
        }
        for (int i = 0; i < out && i < rows; i++) {
            vec u[OUT];
            outputs_1d(out, half[i], u);
#pragma GCC unroll 4
            for (int j = 0; j < out; j++) {
                const int64_t at = base + (i * w->out[1] + j) * w->filters + c;
                if (j < columns) *(vec *)(y + at) = finish(e, u[j], c, at);
            }
        }
    }
}

/* Tiles [*first, *last) of a block. */
static void block_tiles(const struct winograd *w, int64_t block, int64_t *first, int64_t *last) {
    *first = block * w->block;
    *last = *first + w->block < w->tiles ? *first + w->block : w->tiles;
}

/* Blocks [*first, *last) of thread `t`. */
static void thread_blocks(const struct winograd *w, int t, int64_t *first, int64_t *last) {
    *first = w->nblocks * t / w->threads;
    *last = w->nblocks * (t + 1) / w->threads;
}

static void run_block(const struct winograd *w, const float *x, const float *weights,
                      const struct epilogue *e, int64_t block, float *scratch, float *y) {
    const int64_t c = w->channels, f = w->filters, v_stride = stride_of(w, c), m_stride = stride_of(w, f);
    float *v = scratch, *m = scratch + POINTS * v_stride;
    int64_t first, last;
    block_tiles(w, block, &first, &last);
    for (int64_t t = first; t < last; t++) transform_inputs(w, x, t, v + (t - first) * c, v_stride);
    for (int p = 0; p < POINTS; p++)
        for (int64_t j = 0; j < f; j += PANEL) {
            const int64_t width = f - j < PANEL ? f - j : PANEL;
            product(last - first, width, c, v + p * v_stride, c, 1, weights + p * c * f + j * c, width, false,
                    m + p * m_stride + j, f);
        }
    for (int64_t t = first; t < last; t++) {
        const float *tile = m + (t - first) * f;
        if (w->tile == 4) transform_outputs(w, 4, e, tile, m_stride, t, y);
        else transform_outputs(w, 2, e, tile, m_stride, t, y);
    }
}

void winograd_run(const struct winograd *w, const float *x, const float *weights, const float *bias,
                  const float *addend, const struct clamp *clamp, float *scratch, float *y) {
    const struct epilogue e = {.bias = bias, .addend = addend, .clamp = *clamp};
#pragma omp parallel for num_threads(w->threads) schedule(static, 1)
    for (int t = 0; t < w->threads; t++) {
        int64_t first, last;
        thread_blocks(w, t, &first, &last);
        for (int64_t b = first; b < last; b++)
            run_block(w, x, weights, &e, b, scratch + (size_t)t * block_floats(w), y);
    }
}

/* ---- weights ---- */

/* kernel (side,side,M,C) turned and transposed to turned (side,side,C,M), for C channels and M filters of
 * `w`. */
static void turn_kernel(const struct winograd *w, const float *kernel, float *turned) {
    const int64_t c = w->channels, f = w->filters;
    const int last = w->side * w->side - 1;
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < c; i++)
        for (int tap = 0; tap <= last; tap++)
            for (int64_t j = 0; j < f; j++)
                turned[(tap * c + i) * f + j] = kernel[((last - tap) * f + j) * c + i];
}

/* Weights at a point are panels of at most PANEL filters, each (C, width). */
INLINE void pack_channel(const struct winograd *w, int side, const float *kernel, int64_t channel,
                         float *weights) {
    const int64_t c = w->channels, f = w->filters;
    for (int64_t j = 0; j < f; j += VEC) {
        const int64_t panel = j / PANEL * PANEL, width = f - panel < PANEL ? f - panel : PANEL;
        float *out = weights + panel * c + channel * width + j - panel;
        vec half[IN][SIDE];
        for (int k = 0; k < side; k++) {
            vec g[SIDE], u[IN];
            for (int i = 0; i < side; i++)
                g[i] = *(const vec *)(kernel + ((i * side + k) * c + channel) * f + j);
            kernel_1d(side, g, u);
            for (int i = 0; i < IN; i++) half[i][k] = u[i];
        }
        for (int i = 0; i < IN; i++) {
            vec u[IN];
            kernel_1d(side, half[i], u);
            for (int k = 0; k < IN; k++) *(vec *)(out + (i * IN + k) * c * f) = u[k];
        }
    }
}

void winograd_pack(const struct winograd *w, const float *kernel, float *scratch, float *weights) {
    if (w->transposed) {
        turn_kernel(w, kernel, scratch);
        kernel = scratch;
    }
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < w->channels; i++) {
        if (w->side == 3) pack_channel(w, 3, kernel, i, weights);
        else pack_channel(w, 5, kernel, i, weights);
    }
}

static void gradient_block(const struct winograd *w, const float *x, const float *dy, int64_t block, bool add,
                           float *scratch, float *sums) {
    const int64_t c = w->channels, f = w->filters, v_stride = stride_of(w, c), m_stride = stride_of(w, f);
    float *v = scratch, *m = scratch + POINTS * v_stride;
    int64_t first, last;
    block_tiles(w, block, &first, &last);
    for (int64_t t = first; t < last; t++) {
        transform_inputs(w, x, t, v + (t - first) * c, v_stride);
        if (w->tile == 4) transform_output_grads(w, 4, dy, t, m + (t - first) * f, m_stride);
        else transform_output_grads(w, 2, dy, t, m + (t - first) * f, m_stride);
    }
    for (int p = 0; p < POINTS; p++)
        product(c, f, last - first, v + p * v_stride, 1, c, m + p * m_stride, f, add, sums + p * c * f, f);
}

/* Sums of all threads, transformed back, for one channel. */
INLINE void gradient_channel(const struct winograd *w, int side, const float *sums, int64_t channel,
                             float *gradient) {
    const int64_t c = w->channels, f = w->filters, size = POINTS * c * f;
    for (int64_t j = 0; j < f; j += VEC) {
        vec half[SIDE][IN];
        for (int k = 0; k < IN; k++) {
            vec u[IN], g[SIDE];
            for (int i = 0; i < IN; i++) {
                const float *at = sums + ((i * IN + k) * c + channel) * f + j;
                u[i] = *(const vec *)at;
                for (int t = 1; t < w->threads; t++) u[i] += *(const vec *)(at + t * size);
            }
            kernel_grad_1d(side, u, g);
            for (int i = 0; i < side; i++) half[i][k] = g[i];
        }
        for (int i = 0; i < side; i++) {
            vec g[SIDE];
            kernel_grad_1d(side, half[i], g);
            for (int k = 0; k < side; k++) *(vec *)(gradient + ((i * side + k) * c + channel) * f + j) = g[k];
        }
    }
}

void winograd_gradient(const struct winograd *w, const float *x, const float *dy, float *scratch,
                       float *gradient) {
    float *sums = scratch + (size_t)w->threads * block_floats(w);
#pragma omp parallel for num_threads(w->threads) schedule(static, 1)
    for (int t = 0; t < w->threads; t++) {
        int64_t first, last;
        thread_blocks(w, t, &first, &last);
        if (first == last)
            memset(sums + (size_t)t * winograd_weights(w), 0, winograd_weights(w) * sizeof *sums);
        for (int64_t b = first; b < last; b++)
            gradient_block(w, x, dy, b, b > first, scratch + (size_t)t * block_floats(w),
                           sums + (size_t)t * winograd_weights(w));
    }
#pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < w->channels; i++) {
        if (w->side == 3) gradient_channel(w, 3, sums, i, gradient);
        else gradient_channel(w, 5, sums, i, gradient);
    }
}

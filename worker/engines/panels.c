#include "worker/engines/panels.h"
#include "worker/engines/product.h"

#include <string.h>

enum {
    MULTIPLE = 16,            /* of columns, in product() */
    BLOCK_ROWS = 48,          /* rows of A that stay in the cache while B goes by */
    PIECE_DEPTH = 512,        /* of B: rows, */
    PIECE_FLOATS = 128 * 1024 /* floats packed at a time */
};

static int64_t shorter(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Rows of B lie together: they are read one after the other, which is what memory likes. */
static void pack_rows(int64_t k, int64_t n, int64_t first, int64_t last, const float *b, int64_t bl,
                      float *packed) {
    const int64_t whole = last < n / PANEL ? last : n / PANEL;
    for (int64_t l = 0; l < k; l++) {
        for (int64_t p = first; p < whole; p++) {
            const float *restrict from = b + l * bl + p * PANEL;
            float *restrict to = packed + (p * k + l) * PANEL;
            for (int64_t j = 0; j < PANEL; j++) to[j] = from[j];
        }
        if (whole == last) continue;
        float *to = packed + (whole * k + l) * PANEL;
        for (int64_t j = 0; j < PANEL; j++) to[j] = j < n - whole * PANEL ? b[l * bl + whole * PANEL + j] : 0;
    }
}

/* Columns of B lie together. */
static void pack_columns(int64_t k, int64_t n, int64_t first, int64_t last, const float *b, int64_t bl,
                         int64_t bj, float *packed) {
    for (int64_t p = first; p < last; p++)
        for (int64_t l = 0; l < k; l++) {
            float *to = packed + (p * k + l) * PANEL;
            for (int64_t j = 0; j < PANEL; j++)
                to[j] = p * PANEL + j < n ? b[l * bl + (p * PANEL + j) * bj] : 0;
        }
}

void panels_pack(int64_t k, int64_t n, int64_t first, int64_t last, const float *b, int64_t bl, int64_t bj,
                 float *packed) {
    if (bj == 1) pack_rows(k, n, first, last, b, bl, packed);
    else pack_columns(k, n, first, last, b, bl, bj, packed);
}

/* The last panel: its columns that are not a multiple of what product() takes go by way of a tile. */
static void narrow_panel(int64_t m, int64_t columns, int64_t k, const float *a, int64_t ai,
                         const float *panel, bool add, float *c, int64_t ci) {
    const int64_t whole = columns / MULTIPLE * MULTIPLE, rest = columns - whole;
    if (whole) product(m, whole, k, a, ai, 1, panel, PANEL, add, c, ci);
    if (!rest) return;
    float tile[BLOCK_ROWS * MULTIPLE] = {0};
    for (int64_t i = 0; add && i < m; i++)
        for (int64_t j = 0; j < rest; j++) tile[i * MULTIPLE + j] = c[i * ci + whole + j];
    product(m, MULTIPLE, k, a, ai, 1, panel + whole, PANEL, add, tile, MULTIPLE);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < rest; j++) c[i * ci + whole + j] = tile[i * MULTIPLE + j];
}

void panels_product(int64_t m, int64_t n, int64_t k, int64_t first, int64_t last, const float *a, int64_t ai,
                    const float *packed, bool add, float *c, int64_t ci) {
    for (int64_t i = 0; i < m; i += BLOCK_ROWS) {
        const int64_t rows = shorter(BLOCK_ROWS, m - i);
        for (int64_t p = first; p < last; p++) {
            const int64_t columns = shorter(PANEL, n - p * PANEL);
            const float *panel = packed + p * k * PANEL;
            float *to = c + i * ci + p * PANEL;
            if (columns == PANEL) product(rows, PANEL, k, a + i * ai, ai, 1, panel, PANEL, add, to, ci);
            else narrow_panel(rows, columns, k, a + i * ai, ai, panel, add, to, ci);
        }
    }
}

/* ---- panels_rows ---- */

static int64_t piece_depth(int64_t k) {
    return shorter(k, PIECE_DEPTH);
}

/* Panels of a piece. */
static int64_t piece_panels(int64_t n, int64_t k) {
    const int64_t fit = PIECE_FLOATS / (piece_depth(k) * PANEL);
    return shorter(panels_count(n), fit > 0 ? fit : 1);
}

static size_t slot_floats(int64_t n, int64_t k) {
    return ((size_t)(piece_depth(k) * piece_panels(n, k)) * PANEL + 15) / 16 * 16;
}

size_t panels_scratch(int64_t n, int64_t k, int threads) {
    return (size_t)threads * slot_floats(n, k);
}

/* The part of a slot: rows of A and C, panels of B. */
struct part {
    int64_t m, n, k, first, last;
    const float *a, *bias;
    float *c;
};

/* Rows are divided if each slot has enough of them for packing B to be cheap; else columns, as far as there
 * are panels. */
static struct part part_of(const struct part *all, int slot, int slots) {
    int64_t across = 1;
    if (all->m < 64 * (int64_t)slots)
        for (across = shorter(slots, all->last); slots % across; across--) continue;
    const int64_t down = slots / across, i = slot / across, j = slot % across;
    const int64_t begin = all->m * i / down, end = all->m * (i + 1) / down;
    struct part part = *all;
    part.m = end - begin;
    part.a += begin * all->k;
    part.c += begin * all->n;
    part.first = all->last * j / across;
    part.last = all->last * (j + 1) / across;
    return part;
}

static bool is_small(const struct part *all) {
    return all->m * all->n * all->k <= 32768;
}

static void part_bias(const struct part *part) {
    const int64_t begin = part->first * PANEL, end = shorter(part->n, part->last * PANEL);
    for (int64_t i = 0; part->bias && i < part->m && begin < end; i++)
        memcpy(part->c + i * part->n + begin, part->bias + begin, (size_t)(end - begin) * sizeof *part->c);
}

static void part_run(const struct part *part, const float *b, float *piece) {
    const int64_t n = part->n, k = part->k, step = piece_panels(n, k);
    part_bias(part);
    for (int64_t p = part->first; p < part->last; p += step) {
        const int64_t panels = shorter(step, part->last - p), column = p * PANEL;
        const int64_t columns = shorter(n - column, panels * PANEL);
        for (int64_t l = 0; l < k; l += PIECE_DEPTH) {
            const int64_t depth = shorter(PIECE_DEPTH, k - l);
            panels_pack(depth, columns, 0, panels, b + l * n + column, n, 1, piece);
            panels_product(part->m, columns, depth, 0, panels, part->a + l, k, piece, part->bias || l > 0,
                           part->c + column, n);
        }
    }
}

void panels_rows(int64_t m, int64_t n, int64_t k, const float *a, const float *b, const float *bias,
                 int threads, float *scratch, float *c) {
    const struct part all = {m, n, k, 0, panels_count(n), a, bias, c};
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (!is_small(&all))
    for (int slot = 0; slot < threads; slot++) {
        const struct part part = part_of(&all, slot, threads);
        if (part.m) part_run(&part, b, scratch + (size_t)slot * slot_floats(n, k));
    }
}

void panels_rows_packed(int64_t m, int64_t n, int64_t k, const float *a, const float *packed,
                        const float *bias, int threads, float *c) {
    const struct part all = {m, n, k, 0, panels_count(n), a, bias, c};
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (!is_small(&all))
    for (int slot = 0; slot < threads; slot++) {
        const struct part part = part_of(&all, slot, threads);
        part_bias(&part);
        panels_product(part.m, n, k, part.first, part.last, part.a, k, packed, bias, part.c, n);
    }
}

/* Matrix products of rows that do not know of each other: every element of the result is the same sum in the
 * same order, whatever the number of rows, the row's place among them and the threads. For what the samples
 * of a batch go through together. (BLAS computes the rows at the edge of its blocks in other orders.)
 *
 * The right-hand matrix is packed into panels of PANEL columns, the last one filled up with zeros. */
#ifndef GODWIT_WORKER_ENGINES_PANELS_H
#define GODWIT_WORKER_ENGINES_PANELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PANEL 32

static inline int64_t panels_count(int64_t n) {
    return (n + PANEL - 1) / PANEL;
}

/* Floats of B (k,n) packed. */
static inline size_t panels_floats(int64_t k, int64_t n) {
    return (size_t)(k * panels_count(n) * PANEL);
}

/* Packs panels first..last-1 of B (k,n), whose element (l,j) is b[l*bl + j*bj]; `packed` is where panel 0
 * begins. */
void panels_pack(int64_t k, int64_t n, int64_t first, int64_t last, const float *b, int64_t bl, int64_t bj,
                 float *packed);

/* C (m,n) = A (m,k) B, or += with `add`, for panels first..last-1; rows are `ai` and `ci` floats apart. On
 * the calling thread. */
void panels_product(int64_t m, int64_t n, int64_t k, int64_t first, int64_t last, const float *a, int64_t ai,
                    const float *packed, bool add, float *c, int64_t ci);

/* C (m,n) = A (m,k) B + bias on `threads` slots, without gaps between rows; bias may be NULL. `packed`: all
 * of B packed; or B as it is, row-major, packed piece by piece into `scratch` of panels_scratch() floats. */
void panels_rows_packed(int64_t m, int64_t n, int64_t k, const float *a, const float *packed,
                        const float *bias, int threads, float *c);
void panels_rows(int64_t m, int64_t n, int64_t k, const float *a, const float *b, const float *bias,
                 int threads, float *scratch, float *c);
size_t panels_scratch(int64_t n, int64_t k, int threads);

#endif

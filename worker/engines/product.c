#include "worker/engines/product.h"
#include "worker/engines/vector.h"

/* Rows and vectors of c held in registers: enough sums to hide the latency of a multiply-add, few enough for
 * the processor's registers. */
#ifdef __AVX512F__
enum { ROWS = 8, VECTORS = 2 };
#else
enum { ROWS = 6, VECTORS = 2 };
#endif

#define INLINE static inline __attribute__((always_inline))

/* `rows` and `vectors` are constants where this is inlined. */
INLINE void tile(const int rows, const int vectors, int64_t k, const float *a, int64_t ai, int64_t al,
                 const float *b, int64_t bl, bool add, float *c, int64_t ci) {
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[r][v] = add ? *(const vec *)(c + r * ci + VEC * v) : (vec){0};
    for (int64_t l = 0; l < k; l++) {
        vec w[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) w[v] = *(const vec *)(b + l * bl + VEC * v);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[r][v] += a[r * ai + l * al] * w[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) *(vec *)(c + r * ci + VEC * v) = sum[r][v];
}

/* Rows of `a` whose elements follow each other, or columns. */
INLINE void tile_strided(const int rows, const int vectors, int64_t k, const float *a, int64_t ai, int64_t al,
                         const float *b, int64_t bl, bool add, float *c, int64_t ci) {
    if (al == 1) tile(rows, vectors, k, a, ai, 1, b, bl, add, c, ci);
    else if (ai == 1) tile(rows, vectors, k, a, 1, al, b, bl, add, c, ci);
    else tile(rows, vectors, k, a, ai, al, b, bl, add, c, ci);
}

/* At most ROWS rows of a panel of one or two vectors. */
INLINE void rows_of_panel(const int vectors, int64_t rows, int64_t k, const float *a, int64_t ai, int64_t al,
                          const float *b, int64_t bl, bool add, float *c, int64_t ci) {
    switch (rows) {
    case 1:
        tile_strided(1, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
    case 2:
        tile_strided(2, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
    case 3:
        tile_strided(3, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
    case 4:
        tile_strided(4, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
    case 5:
        tile_strided(5, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
#ifdef __AVX512F__
    case 6:
        tile_strided(6, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
    case 7:
        tile_strided(7, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
#endif
    default:
        tile_strided(ROWS, vectors, k, a, ai, al, b, bl, add, c, ci);
        break;
    }
}

void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t ai, int64_t al, const float *b,
             int64_t bl, bool add, float *c, int64_t ci) {
    for (int64_t j = 0; j < n; j += VEC * VECTORS)
        for (int64_t i = 0; i < m; i += ROWS) {
            const int64_t rows = m - i < ROWS ? m - i : ROWS;
            if (n - j >= VEC * VECTORS)
                rows_of_panel(VECTORS, rows, k, a + i * ai, ai, al, b + j, bl, add, c + i * ci + j, ci);
            else rows_of_panel(1, rows, k, a + i * ai, ai, al, b + j, bl, add, c + i * ci + j, ci);
        }
}

#include "worker/matmul.h"

#include <cblas.h>

#define TILE 32       /* rows of the result in one tile */
#define TILE_LONG 512 /* where the result has many rows */

static int64_t shorter(int64_t a, int64_t b) {
    return a < b ? a : b;
}

void matmul(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int threads) {
    openblas_set_num_threads(1);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < m; i += TILE_LONG)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)shorter(TILE_LONG, m - i), (int)n, (int)k,
                    1, a + i * k, (int)k, b, (int)n, 0, c + i * n, (int)n);
}

void matmul_transposed(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c,
                       int threads) {
    openblas_set_num_threads(1);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < m; i += TILE)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)shorter(TILE, m - i), (int)n, (int)k, 1,
                    a + i, (int)m, b, (int)n, 0, c + i * n, (int)n);
}

void matmul_gram(int64_t m, int64_t k, const float *a, float *c, int threads) {
    openblas_set_num_threads(1);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < m; i += TILE)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)shorter(TILE, m - i), (int)(m - i), (int)k,
                    1, a + i, (int)m, a + i, (int)m, 0, c + i * m + i, (int)m);
}

void matmul_downdate(int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c,
                     int threads) {
    openblas_set_num_threads(1);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < m; i += TILE)
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)shorter(TILE, m - i), (int)n, (int)k, -1,
                    a + i, (int)m, b, (int)n, 1, c + i * n, (int)n);
}

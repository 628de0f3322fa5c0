/* Matrix products on several threads: each thread computes tiles of the result with OpenBLAS on itself alone,
 * as OpenBLAS's own threads would fight with OpenMP's for the cores. Tiles do not depend on the number of
 * threads, so neither do the bytes of the result. */
#ifndef GODWIT_WORKER_MATMUL_H
#define GODWIT_WORKER_MATMUL_H

#include <stdint.h>

/* c (m, n) = a (m, k) * b (k, n), all row-major without gaps. */
void matmul(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c, int threads);
/* c (m, n) = aᵀ b for a (k, m), b (k, n). */
void matmul_transposed(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c,
                       int threads);
/* The upper triangle of c (m, m) = aᵀ a for a (k, m); entries below the diagonal may be set or not. */
void matmul_gram(int64_t m, int64_t k, const float *a, float *c, int threads);
/* c (m, n) -= aᵀ b in float64, for a (k, m), b (k, n). */
void matmul_downdate(int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c,
                     int threads);

#endif

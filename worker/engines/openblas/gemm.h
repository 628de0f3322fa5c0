/* Matrix product by OpenBLAS on the calling thread. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_GEMM_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_GEMM_H

#include <stdbool.h>

/* C (m,n) = op(A) (m,k) * op(B) (k,n) + beta * C, row-major with leading dimensions lda, ldb, ldc. */
void gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
          int ldb, float beta, float *c, int ldc);

/* The same with `alpha` times the product. */
void gemm_scaled(bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc);

/* From now on OpenBLAS computes on the calling thread alone: the engine brings its own threads. Its number is
 * not changed back, as OpenBLAS's threads spin for some 30 ms after they have been started. */
void gemm_alone(void);

#endif

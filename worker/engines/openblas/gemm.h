/* Matrix product by OpenBLAS on the calling thread. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_GEMM_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_GEMM_H

#include <stdbool.h>

/* C (m,n) = op(A) (m,k) * op(B) (k,n) + beta * C, row-major with leading dimensions lda, ldb, ldc. */
void gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
          int ldb, float beta, float *c, int ldc);

/* The engine runs products on its own threads: OpenBLAS is told to use one for each call and gets its number
 * of threads, which begin returned, back at the end. */
int gemm_begin(void);
void gemm_end(int threads);

#endif

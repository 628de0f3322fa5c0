#include "worker/engines/openblas/gemm.h"

#include <cblas.h>

void gemm_scaled(bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
          int ldb, float beta, float *c, int ldc) {
    gemm_scaled(transpose_a, transpose_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

void gemm_alone(void) {
    if (openblas_get_num_threads() != 1) openblas_set_num_threads(1);
}

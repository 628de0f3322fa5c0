/* Products of matrices. */
#include <oneapi/dnnl/dnnl.h>

#include "worker/engines/onednn/dnnl_prim.h"

#include <string.h>

/* (batch, rows, columns), row-major, or stored as (batch, columns, rows). */
static status matrix_describe(int64_t batch, int64_t rows, int64_t columns, bool transposed,
                              dnnl_memory_desc_t *md) {
    dnnl_dims_t dims = {batch, rows, columns},
                strides = {rows * columns, transposed ? 1 : columns, transposed ? rows : 1};
    DNN_TRY("describing a product", dnnl_memory_desc_init_by_strides(md, 3, dims, dnnl_f32, strides));
    return SUCCESS;
}

status prim_matmul(struct dnn *dnn, const struct matmul_shape *s, struct prim **prim) {
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t desc;
    struct epilogue e = NO_EPILOGUE;
    STATUS_TRY(matrix_describe(s->batch, s->m, s->k, s->transpose_a, &a));
    STATUS_TRY(matrix_describe(s->batch, s->k, s->n, s->transpose_b, &b));
    STATUS_TRY(matrix_describe(s->batch, s->m, s->n, false, &c));
    DNN_TRY("a product", dnnl_matmul_desc_init(&desc, &a, &b, NULL, &c));
    if (s->scale != 1) {
        e.nscales = 1;
        e.scale = &s->scale;
    }
    if (s->add) {
        DNN_TRY("a product", dnnl_post_ops_create(&e.post));
        dnnl_status_t code = dnnl_post_ops_append_sum(e.post, 1);
        if (code != dnnl_success) {
            dnnl_post_ops_destroy(e.post);
            return dnn_failed("a product", code);
        }
    }
    STATUS_TRY(prim_create_with(dnn, "a product", &desc, &e, NULL, prim));
    if (!strncmp(prim_implementation(*prim), "brg", 3)) return SUCCESS;
    prim_destroy(prim);
    return status_fail(STATUS_UNSUPPORTED, "oneDNN has no fast product of matrices for this processor");
}

status dnn_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    DNN_TRY("multiplying matrices", dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1,
                                               a, lda, b, ldb, beta, c, ldc));
    return SUCCESS;
}

/* oneDNN behind a few calls, so that its types and its version (2.x, operation descriptors) stay in dnnl*.c.
 *
 * All activations are dense, channels last, float32 unless said otherwise. Weights are in the layout that
 * oneDNN likes best for the primitive ("packed"); prim_pack/prim_unpack convert from and to the Keras layout.
 */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_DNNL_H
#define GODWIT_WORKER_ENGINES_ONEDNN_DNNL_H

#include "shared/op.h"

/* oneDNN's CPU engine and its stream. */
struct dnn;
status dnn_create(struct dnn **dnn) STATUS_MUST_USE;
void dnn_destroy(struct dnn **dnn);

/* One compiled primitive with its memory objects. Memory is given by the caller (prim_set), the scratchpad
 * too. */
struct prim;

enum prim_arg {
    PRIM_SRC,
    PRIM_WEIGHTS, /* packed */
    PRIM_BIAS,
    PRIM_DST,
    PRIM_ADDEND, /* like DST, added before the activation */
    PRIM_WORKSPACE,
    PRIM_DIFF_SRC,
    PRIM_DIFF_WEIGHTS, /* packed */
    PRIM_DIFF_DST,
    PRIM_SCRATCHPAD,
    PRIM_ARGS
};

/* A convolution, depthwise (groups == channels) or not; ordinary, grouped kernels are (kh,kw,C/groups,M),
 * depthwise ones (kh,kw,C,m). */
struct conv_shape {
    int64_t n, in[2], channels, out[2], filters;
    int groups;
    bool depthwise;
    struct window window;
};

/* Numbers of a convolution that does not compute in float32. In int8 a stored number stands for itself times
 * the scale of where it is. Weights are int8 then too, and the bias is in the unit of the sums of products.
 */
struct conv_numbers {
    enum dtype src, addend, dst; /* BF16; or U8 or I8, and the addend and dst F32 too */
    const float *scale;          /* [filters] int8: of the sums, which with it are in the unit `domain` */
    float domain, result;        /* int8: unit of what is added and of what the activation takes; of dst */
};

struct conv_post {
    bool bias;
    bool add;                           /* PRIM_ADDEND is added after the bias */
    const struct op *act;               /* then this activation; NULL: none */
    const struct conv_numbers *numbers; /* NULL: all float32 */
};

/* Has the processor fast convolutions of such numbers: BF16, I8? */
bool dnn_has(enum dtype dtype);

/* UNSUPPORTED if oneDNN has no fast implementation with these post-operations. */
status prim_conv_forward(struct dnn *dnn, const struct conv_shape *shape, const struct conv_post *post,
                         bool training, struct prim **prim) STATUS_MUST_USE;
status prim_conv_backward_data(struct dnn *dnn, const struct conv_shape *shape,
                               struct prim **prim) STATUS_MUST_USE;
status prim_conv_backward_weights(struct dnn *dnn, const struct conv_shape *shape,
                                  struct prim **prim) STATUS_MUST_USE;

/* Reorders between the Keras layout and the packed weights of a convolution primitive: PRIM_SRC to PRIM_DST.
 * *reorder is NULL if both layouts are the same. */
status prim_pack(struct dnn *dnn, const struct conv_shape *shape, const struct prim *conv,
                 struct prim **reorder) STATUS_MUST_USE;
status prim_unpack(struct dnn *dnn, const struct conv_shape *shape, const struct prim *conv,
                   struct prim **reorder) STATUS_MUST_USE;

/* Elementwise over `count` values; only for activations where prim_activation_known(). Backward takes
 * DST if prim_activation_uses_output(), else SRC. */
bool prim_activation_known(const struct op *act);
bool prim_activation_uses_output(const struct op *act);
/* Does its result scale with its argument, as a ReLU's does? */
bool prim_activation_scales(const struct op *act);
status prim_activation_forward(struct dnn *dnn, int64_t count, const struct op *act,
                               struct prim **prim) STATUS_MUST_USE;
status prim_activation_backward(struct dnn *dnn, int64_t count, const struct op *act,
                                struct prim **prim) STATUS_MUST_USE;

/* Pooling of such numbers; max pooling in training has a PRIM_WORKSPACE. */
status prim_pool_forward(struct dnn *dnn, const struct shape *in, const struct shape *out,
                         const struct op *op, enum dtype dtype, bool training,
                         struct prim **prim) STATUS_MUST_USE;
status prim_pool_backward(struct dnn *dnn, const struct shape *in, const struct shape *out,
                          const struct op *op, struct prim **prim) STATUS_MUST_USE;

/* `batch` products C (m,n) = scale * A (m,k) B (k,n), or += with `add`; all dense and row-major, A and B
 * perhaps stored as (k,m) and (n,k). PRIM_SRC and PRIM_WEIGHTS to PRIM_DST. UNSUPPORTED if oneDNN has no fast
 * implementation. */
struct matmul_shape {
    int64_t batch, m, n, k;
    bool transpose_a, transpose_b;
    float scale;
    bool add;
};
status prim_matmul(struct dnn *dnn, const struct matmul_shape *shape, struct prim **prim) STATUS_MUST_USE;

void prim_destroy(struct prim **prim);
size_t prim_bytes(const struct prim *prim, enum prim_arg arg); /* 0 if there is no such argument */
const char *prim_implementation(const struct prim *prim);      /* e.g. "brgconv:avx512_core"; borrowed */

/* Memory of an argument; arguments the primitive does not have are ignored. */
void prim_set(struct prim *prim, enum prim_arg arg, const void *data);
status prim_run(struct dnn *dnn, struct prim *prim) STATUS_MUST_USE;

/* C (m,n) = beta*C + op(A) op(B), row-major; op(A) is (m,k), op(B) (k,n); lda, ldb, ldc are row lengths. */
status dnn_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) STATUS_MUST_USE;

#endif

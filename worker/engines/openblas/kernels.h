/* All kernels; the table is in kernels.c. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_KERNELS_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_KERNELS_H

#include "worker/engines/openblas/kernel.h"

extern const struct kernel kernel_conv;
extern const struct kernel kernel_conv_transpose;
extern const struct kernel kernel_depthwise;
extern const struct kernel kernel_dense;
extern const struct kernel kernel_batch_norm;
extern const struct kernel kernel_activation;
extern const struct kernel kernel_softmax;
extern const struct kernel kernel_binary;
extern const struct kernel kernel_concat;
extern const struct kernel kernel_pool;
extern const struct kernel kernel_recurrent;
extern const struct kernel kernel_reduce;
extern const struct kernel kernel_pad;
extern const struct kernel kernel_resize;
extern const struct kernel kernel_affine;
extern const struct kernel kernel_reshape;
extern const struct kernel kernel_dropout;
extern const struct kernel kernel_embedding;
extern const struct kernel kernel_layer_norm;
extern const struct kernel kernel_matmul;
extern const struct kernel kernel_prelu;
extern const struct kernel kernel_scale;
extern const struct kernel kernel_slice;
extern const struct kernel kernel_transpose;

#endif

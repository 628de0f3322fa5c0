/* 3x3 and 5x5 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) and F(2x2, 5x5) (Lavin,
 * Gray 2016): a quarter and a third of the multiplications. Both are of the polynomials' values at 0, 1, -1,
 * 2, -2 and infinity: tiles of 6x6 inputs and the kernel are transformed; at each of 36 points there is one
 * matrix product over the channels; the products are transformed back to tiles of 4x4 or 2x2 outputs. The
 * gradient of the kernel is the transpose of that, step by step; the gradient of the input is again such a
 * convolution.
 *
 * Blocks of tiles are transformed, multiplied and transformed back while they are in cache. Activations are
 * dense, channels last; channels and filters are multiples of 16. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_WINOGRAD_H
#define GODWIT_WORKER_ENGINES_ONEDNN_WINOGRAD_H

#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/dnnl.h"

struct winograd {
    int64_t n, in[2], channels, out[2], filters;
    int before[2];   /* padding */
    int side, tile;  /* of the kernel; of a tile of outputs: 3 and 4, or 5 and 2 */
    bool transposed; /* computes the gradient of the input: the kernel is turned and its channels are swapped
                      */
    int64_t across[2], tiles; /* tiles of one image: down, across; of all */
    int64_t block, nblocks;   /* tiles transformed together */
    int threads;
};

/* Was it compiled for a processor where it is fast? */
bool winograd_built(void);

/* False where it is not possible or would not be faster. With `transposed`, `shape` is still the forward one.
 */
bool winograd_make(const struct conv_shape *shape, bool transposed, int threads, struct winograd *winograd);

/* Floats of packed weights; of scratch for winograd_pack and winograd_run; of scratch for winograd_gradient.
 */
size_t winograd_weights(const struct winograd *winograd);
size_t winograd_scratch(const struct winograd *winograd);
size_t winograd_gradient_scratch(const struct winograd *winograd);

/* Transforms a kernel (side,side,C,M) of the forward convolution. */
void winograd_pack(const struct winograd *winograd, const float *kernel, float *scratch, float *weights);

/* y = clamp(convolution of x + bias + addend); bias and addend (like y, may be y) may be NULL. */
void winograd_run(const struct winograd *winograd, const float *x, const float *weights, const float *bias,
                  const float *addend, const struct clamp *clamp, float *scratch, float *y);

/* Gradient (side,side,C,M) of the kernel of the forward convolution (not transposed). */
void winograd_gradient(const struct winograd *winograd, const float *x, const float *dy, float *scratch,
                       float *gradient);

#endif

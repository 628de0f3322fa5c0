/* Convolutions with few filters, in inference. A vector across the filters would be mostly empty: here it
 * holds `group` channels of each filter, so that one multiplication takes the products of `group` channels;
 * the sums of a filter's channels are added up at the end.
 *
 * Activations are dense, channels last; channels are even. Every output is the same sum in the
 * same order, whatever its place, the number of samples and the threads. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_NARROW_H
#define GODWIT_WORKER_ENGINES_ONEDNN_NARROW_H

#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/dnnl.h"

struct narrow {
    struct conv_shape shape;
    int group, lanes; /* channels and filters of a vector, powers of two; lanes of no filter are zero */
    bool points;      /* each output is made of the input at its place */
    int threads;
};

/* Was it compiled for a processor where it is fast? */
bool narrow_built(void);

/* False where it is not possible or would not be faster. */
bool narrow_make(const struct conv_shape *shape, int threads, struct narrow *narrow);

/* Floats of packed weights. */
size_t narrow_weights(const struct narrow *narrow);

/* Packs a kernel (kh,kw,C,M) and a bias [M], which may be NULL. */
void narrow_pack(const struct narrow *narrow, const float *kernel, const float *bias, float *weights);

/* y = clamp(convolution of x + bias + addend); addend (like y, may be y) may be NULL. */
void narrow_run(const struct narrow *narrow, const float *x, const float *weights, const float *addend,
                const struct clamp *clamp, float *y);

#endif

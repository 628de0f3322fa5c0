/* Single operations that kinds emit: each appends one, of the shape that follows from its inputs, and returns
 * the new value. Unknown dimensions stay unknown. `out` may be where an input's number is kept. Private to
 * shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_EMIT_H
#define GODWIT_SHARED_LAYERS_EMIT_H

#include "shared/layer.h"

/* Appends nothing if the value has that shape already. */
status emit_reshape(struct lowering *lowering, int value, const struct shape *shape,
                    int *out) STATUS_MUST_USE;
/* axis[i]: which axis of the value is axis i of the result. */
status emit_transpose(struct lowering *lowering, int value, const int *axis, int *out) STATUS_MUST_USE;
/* `count` places of one axis from `start`, `step` (it may be negative) apart. */
status emit_slice(struct lowering *lowering, int value, int axis, int64_t start, int64_t count, int step,
                  int *out) STATUS_MUST_USE;
/* The axis the other way round. */
status emit_reverse(struct lowering *lowering, int value, int axis, int *out) STATUS_MUST_USE;
status emit_concat(struct lowering *lowering, int n, const int *values, int axis, int *out) STATUS_MUST_USE;
/* Inputs of one rank; dimensions of 1 are stretched. INTERNAL error if they do not fit. */
status emit_binary(struct lowering *lowering, enum binary kind, int a, int b, int *out) STATUS_MUST_USE;
status emit_affine(struct lowering *lowering, int value, float scale, float offset, int *out) STATUS_MUST_USE;
status emit_activation(struct lowering *lowering, const struct activation_function *function, int value,
                       int *out) STATUS_MUST_USE;
/* Over one axis, which is left out of the result, or 1 with `keep`. */
status emit_reduce(struct lowering *lowering, enum reduce kind, int value, int axis, bool keep,
                   int *out) STATUS_MUST_USE;
/* scale * a * b or, with `transpose_b`, scale * a * transposed b. */
status emit_matmul(struct lowering *lowering, int a, int b, bool transpose_b, float scale,
                   int *out) STATUS_MUST_USE;
/* bias: -1 if there is none. */
status emit_dense(struct lowering *lowering, int value, int kernel, int bias, int64_t width,
                  int *out) STATUS_MUST_USE;
/* x * gamma + beta on the last axis; -1 where one is absent. */
status emit_scale(struct lowering *lowering, int value, int gamma, int beta, int *out) STATUS_MUST_USE;
/* Over the last axis. */
status emit_softmax(struct lowering *lowering, int value, bool causal, int *out) STATUS_MUST_USE;
/* Nothing if the rate is 0. */
status emit_dropout(struct lowering *lowering, int value, double rate, int *out) STATUS_MUST_USE;

#endif

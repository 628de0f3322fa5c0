/* Masks: values of ones and zeros that say which time steps count, (N,T) for a value (N,T,...); -1 where all
 * do. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_MASK_H
#define GODWIT_SHARED_LAYERS_MASK_H

#include "shared/layer.h"

/* The first input's mask: only a mask of time steps, (N,T), will do; UNSUPPORTED error for any other. */
status mask_of_steps(const struct lowering *lowering, int *mask) STATUS_MUST_USE;
/* Steps that count in both, in either. Of two masks one may be -1. */
status mask_and(struct lowering *lowering, int a, int b, int *out) STATUS_MUST_USE;
status mask_or(struct lowering *lowering, int a, int b, int *out) STATUS_MUST_USE;
/* value (N,T,...), zero where the mask is. */
status mask_apply(struct lowering *lowering, int mask, int value, int *out) STATUS_MUST_USE;
/* The mask with axes of 1 appended, so that it has `rank`. */
status mask_raise(struct lowering *lowering, int mask, int rank, int *out) STATUS_MUST_USE;

#endif

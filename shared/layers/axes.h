/* Axes that a layer normalizes over or has weights for, as sets: bit i is axis i. Private to shared/layers/.
 */
#ifndef GODWIT_SHARED_LAYERS_AXES_H
#define GODWIT_SHARED_LAYERS_AXES_H

#include "shared/layers/kind.h"

/* The axes that the attribute, of type ATTR_INTS, lists as Keras counts them, of an input of that rank. DATA
 * error if there is no such axis, it is the batch, or it is listed twice. */
status axes_read(const struct layer *layer, const char *attr, int rank, unsigned *axes) STATUS_MUST_USE;
/* Their dimensions in ascending order. DATA error if one is unknown. */
status axes_shape(const struct shape *in, unsigned axes, struct shape *shape) STATUS_MUST_USE;
/* Is the last axis among them? */
static inline bool axes_have_last(unsigned axes, int rank) {
    return axes >> (rank - 1) & 1;
}

/* The value with these axes, whose dimensions are known, behind the others and joined to one; one of 1 if
 * there are none. */
status axes_join(struct lowering *lowering, unsigned axes, int *value) STATUS_MUST_USE;
/* The reverse, to a value of this shape. */
status axes_split(struct lowering *lowering, unsigned axes, const struct shape *shape,
                  int *value) STATUS_MUST_USE;

#endif

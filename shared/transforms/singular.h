/* The singular value decomposition of an expression's value. Private to shared/transforms/. */
#ifndef GODWIT_SHARED_TRANSFORMS_SINGULAR_H
#define GODWIT_SHARED_TRANSFORMS_SINGULAR_H

#include "shared/transform.h"

/* Of the value (m, n), seen as rows of its last axis: u (m, k), s [k] descending, vt (k, n), one after the
 * other at *values, k = min(m, n). Borrowed; kept for an expression equal to this one that follows. */
status singular_vectors(struct evaluation *evaluation, const struct expr *x,
                        const double **values) STATUS_MUST_USE;

#endif

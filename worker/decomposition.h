/* Singular value decomposition. */
#ifndef GODWIT_WORKER_DECOMPOSITION_H
#define GODWIT_WORKER_DECOMPOSITION_H

#include "shared/status.h"

#include <stdint.h>

/* a (m, n) = u (m, k) diag(s [k]) vt (k, n), k = min(m, n), all row-major without gaps; s descending. `a` is
 * overwritten. DATA error if a has values that are no numbers, or LAPACK does not find it (dgesdd). */
status singular_values(int64_t m, int64_t n, double *a, double *u, double *s, double *vt) STATUS_MUST_USE;

#endif

#include "worker/decomposition.h"

#include <limits.h>

#include <lapacke.h>

status singular_values(int64_t m, int64_t n, double *a, double *u, double *s, double *vt) {
    int64_t k = m < n ? m : n;
    if (m > INT_MAX || n > INT_MAX)
        return status_fail(STATUS_UNSUPPORTED, "a matrix of %lld by %lld is too large to decompose",
                           (long long)m, (long long)n);
    lapack_int info = LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'S', (lapack_int)m, (lapack_int)n, a, (lapack_int)n, s,
                                     u, (lapack_int)k, vt, (lapack_int)n);
    if (info == 0) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "the singular values of a matrix of %lld by %lld cannot be found: it has values "
                       "that are no finite numbers",
                       (long long)m, (long long)n);
}

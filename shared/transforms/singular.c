#include "shared/transforms/singular.h"

#include <stdlib.h>

/* values: u (m, k), s [k], vt (k, n) of all of x, k = min(m, n). */
static status decompose(struct evaluation *evaluation, const struct expr *x, double *values) {
    const struct evaluation_sources *sources = evaluation_sources(evaluation);
    int64_t m, n;
    const float *all;
    double *a = NULL;
    shape_rows(&x->shape, &m, &n);
    int64_t k = m < n ? m : n;
    STATUS_TRY(evaluation_whole(evaluation, x, &all));
    STATUS_TRY(memory_alloc("a decomposition", (size_t)(m * n), sizeof *a, (void **)&a));
    for (int64_t i = 0; i < m * n; i++) a[i] = all[i];
    status error = sources->svd(sources->context, m, n, a, values, values + m * k, values + m * k + k);
    free(a);
    return error;
}

status singular_vectors(struct evaluation *evaluation, const struct expr *x, const double **values) {
    int64_t m, n;
    shape_rows(&x->shape, &m, &n);
    return evaluation_reuse(evaluation, x, (m + 1 + n) * (m < n ? m : n), decompose, values);
}

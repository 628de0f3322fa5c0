/* Normal equations of a linear fit u·w ≈ y, accumulated over rows: products in float32 over short runs of
 * rows, sums in float64. */
#ifndef GODWIT_WORKER_NORMAL_H
#define GODWIT_WORKER_NORMAL_H

#include "worker/machine.h"

struct normal {
    int64_t k, m;           /* entries of a row of u, of y */
    double *g;              /* (k, k) sum of uᵀu, upper triangle until normal_sum_gram */
    double *h;              /* (k, m) sum of uᵀy */
    double *diagonal;       /* [k] of g, which the factor overwrites */
    float *part;            /* (k, max(k, m)) one run of rows */
    double grid_g, grid_h;  /* see worker/grid.h; 0: sums round as they come */
    double *vector, *value; /* (k, k) eigenvectors in columns, [k] inverses: the factor where there is no
                               Cholesky factor; NULL */
};

/* A run of rows no longer than this is added at once. */
#define NORMAL_ROWS 4096

status normal_create(int64_t k, int64_t m, struct normal **normal) STATUS_MUST_USE;
void normal_destroy(struct normal **normal);
size_t normal_bytes(int64_t k, int64_t m);

/* Adds uᵀu; u (rows, k), rows <= NORMAL_ROWS. */
void normal_add_gram(struct normal *normal, int64_t rows, const float *u, int threads);
/* Adds uᵀy; y (rows, m). */
void normal_add_cross(struct normal *normal, int64_t rows, const float *u, const float *y, int threads);
void normal_clear_cross(struct normal *normal);

/* Sums g over the ranks and fills its lower triangle; sums h. Collective. */
status normal_sum_gram(struct normal *normal, const struct comm *comm) STATUS_MUST_USE;
status normal_sum_cross(struct normal *normal, const struct comm *comm) STATUS_MUST_USE;

/* Factors g + ridge * mean(diagonal) on the first `penalised` diagonal entries; *used tells that penalty. By
 * Cholesky in place in the upper triangle of g, so that it may be called again with another ridge; where
 * columns of u depend on each other up to rounding, by the eigenvalues of the matrix scaled to a diagonal of
 * ones, of which *dropped are too small and their directions left out: of all solutions the one of least
 * norm. DATA error if g is not finite. Not collective. */
status normal_factor(struct normal *normal, int64_t penalised, double ridge, double *used,
                     int64_t *dropped) STATUS_MUST_USE;
/* Solves for w (k, m) float64 with the right side h + penalty * start, using that factor. start (k, m) may be
 * NULL for zero. Not collective. Errors: MEMORY. */
status normal_solve(const struct normal *normal, int64_t penalised, double penalty, const double *start,
                    double *w) STATUS_MUST_USE;

#endif

/* Normal equations of a linear fit u·w ≈ y, accumulated over rows: products in float32 over short runs of
 * rows, sums in float64. */
#ifndef GODWIT_WORKER_NORMAL_H
#define GODWIT_WORKER_NORMAL_H

#include "worker/machine.h"

struct normal {
    int64_t k, m; /* entries of a row of u, of y */
    double *g;    /* (k, k) sum of uᵀu, upper triangle until normal_sum */
    double *h;    /* (k, m) sum of uᵀy */
    float *part;  /* (k, max(k, m)) one run of rows */
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

/* Cholesky factor of g + ridge * mean(diagonal) on the first `penalised` diagonal entries, in place in g.
 * The penalty grows tenfold until the factor exists; *used tells the one that did. Not collective. */
status normal_factor(struct normal *normal, int64_t penalised, double ridge, double *used) STATUS_MUST_USE;
/* Solves for w (k, m) float64 with the right side h + penalty * start, using that factor. start (k, m) may be
 * NULL for zero. Not collective. */
status normal_solve(const struct normal *normal, int64_t penalised, double penalty, const double *start,
                    double *w) STATUS_MUST_USE;

#endif

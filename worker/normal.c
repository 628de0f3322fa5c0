#include "worker/normal.h"
#include "worker/grid.h"
#include "worker/matmul.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdlib.h>
#include <string.h>

#define PIVOT_LEAST 1e-10 /* of a Cholesky factor, squared, relative to the diagonal entry */
#define EIGEN_LEAST 1e-7  /* relative to the largest: what the float32 products let through */

size_t normal_bytes(int64_t k, int64_t m) {
    return (size_t)(k * (k + m)) * sizeof(double) + (size_t)(k * (k > m ? k : m)) * sizeof(float);
}

status normal_create(int64_t k, int64_t m, struct normal **normal) {
    struct normal *n = calloc(1, sizeof *n);
    if (!n) return status_no_memory("normal equations", sizeof *n);
    n->k = k;
    n->m = m;
    status error = memory_alloc("normal equations", (size_t)(k * k), sizeof *n->g, (void **)&n->g);
    if (!error) error = memory_alloc("normal equations", (size_t)(k * m), sizeof *n->h, (void **)&n->h);
    if (!error)
        error = memory_alloc("normal equations", (size_t)k, sizeof *n->diagonal, (void **)&n->diagonal);
    if (!error)
        error = memory_alloc("normal equations", (size_t)(k * (k > m ? k : m)), sizeof *n->part,
                             (void **)&n->part);
    if (error) {
        normal_destroy(&n);
        return error;
    }
    *normal = n;
    return SUCCESS;
}

void normal_destroy(struct normal **normal) {
    if (!*normal) return;
    free((*normal)->g);
    free((*normal)->h);
    free((*normal)->diagonal);
    free((*normal)->part);
    free((*normal)->vector);
    free((*normal)->value);
    free(*normal);
    *normal = NULL;
}

void normal_add_gram(struct normal *n, int64_t rows, const float *u, int threads) {
    matmul_gram(n->k, rows, u, n->part, threads);
#pragma omp parallel for num_threads(threads) schedule(static, 8)
    for (int64_t i = 0; i < n->k; i++)
        for (int64_t j = i; j < n->k; j++) n->g[i * n->k + j] += grid_round(n->grid_g, n->part[i * n->k + j]);
}

void normal_add_cross(struct normal *n, int64_t rows, const float *u, const float *y, int threads) {
    matmul_transposed(n->k, n->m, rows, u, y, n->part, threads);
    for (int64_t i = 0; i < n->k * n->m; i++) n->h[i] += grid_round(n->grid_h, n->part[i]);
}

void normal_clear_cross(struct normal *n) {
    memset(n->h, 0, (size_t)(n->k * n->m) * sizeof *n->h);
}

status normal_sum_gram(struct normal *n, const struct comm *comm) {
    STATUS_TRY(comm_sum_f64(comm, n->g, (size_t)(n->k * n->k)));
    for (int64_t i = 0; i < n->k; i++) {
        n->diagonal[i] = n->g[i * n->k + i];
        for (int64_t j = 0; j < i; j++) n->g[i * n->k + j] = n->g[j * n->k + i];
    }
    return SUCCESS;
}

status normal_sum_cross(struct normal *n, const struct comm *comm) {
    return comm_sum_f64(comm, n->h, (size_t)(n->k * n->m));
}

/* The upper triangle from the lower one, which always holds g, and its diagonal with the penalty. */
static void restore(struct normal *n, int64_t penalised, double penalty) {
    for (int64_t i = 0; i < n->k; i++) {
        n->g[i * n->k + i] = n->diagonal[i] + (i < penalised ? penalty : 0);
        for (int64_t j = i + 1; j < n->k; j++) n->g[i * n->k + j] = n->g[j * n->k + i];
    }
}

static bool cholesky(struct normal *n, int64_t penalised, double penalty) {
    restore(n, penalised, penalty);
    if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', (lapack_int)n->k, n->g, (lapack_int)n->k)) return false;
    for (int64_t i = 0; i < n->k; i++) {
        double pivot = n->g[i * n->k + i], whole = n->diagonal[i] + (i < penalised ? penalty : 0);
        if (!(pivot * pivot >= PIVOT_LEAST * whole)) return false;
    }
    return true;
}

static double unit_scale(const struct normal *n, int64_t i) {
    return n->g[i * n->k + i] > 0 ? 1 / sqrt(n->g[i * n->k + i]) : 1;
}

/* Eigenvectors of the scaled matrix, scaled back, and inverse eigenvalues. */
static status eigenvalues(struct normal *n, int64_t penalised, double penalty, int64_t *dropped) {
    int64_t k = n->k;
    restore(n, penalised, penalty);
    if (!n->vector)
        STATUS_TRY(memory_alloc("eigenvectors", (size_t)(k * k), sizeof *n->vector, (void **)&n->vector));
    if (!n->value) STATUS_TRY(memory_alloc("eigenvectors", (size_t)k, sizeof *n->value, (void **)&n->value));
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i; j < k; j++)
            n->vector[i * k + j] = n->g[i * k + j] * unit_scale(n, i) * unit_scale(n, j);
    if (LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'U', (lapack_int)k, n->vector, (lapack_int)k, n->value))
        return status_fail(STATUS_DATA, "a refit has no solution: the eigenvalues do not converge");
    double least = EIGEN_LEAST * n->value[k - 1];
    for (int64_t j = 0; j < k; j++) {
        *dropped += n->value[j] <= least;
        n->value[j] = n->value[j] > least ? 1 / n->value[j] : 0;
    }
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) n->vector[i * k + j] *= unit_scale(n, i);
    return SUCCESS;
}

status normal_factor(struct normal *n, int64_t penalised, double ridge, double *used, int64_t *dropped) {
    double mean = 0, sum = 0;
    for (int64_t i = 0; i < n->k; i++)
        for (int64_t j = 0; j < i; j++) sum += n->g[i * n->k + j];
    for (int64_t i = 0; i < n->k; i++) sum += n->diagonal[i];
    if (!isfinite(sum))
        return status_fail(STATUS_DATA, "a refit has no solution: the activations are not finite");
    for (int64_t i = 0; i < penalised; i++) mean += n->diagonal[i] / (double)penalised;
    if (!(mean > 0)) mean = 1; /* all inputs are zero: the start is kept */
    *used = ridge * mean;
    *dropped = 0;
    free(n->value);
    n->value = NULL;
    if (cholesky(n, penalised, *used)) return SUCCESS;
    return eigenvalues(n, penalised, *used, dropped);
}

static status solve_by_eigenvalues(const struct normal *n, double *w) {
    int64_t k = n->k, m = n->m;
    double *t = NULL;
    STATUS_TRY(memory_alloc("normal equations", (size_t)(k * m), sizeof *t, (void **)&t));
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)k, (int)m, (int)k, 1, n->vector, (int)k, w,
                (int)m, 0, t, (int)m);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < m; j++) t[i * m + j] *= n->value[i];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)k, (int)m, (int)k, 1, n->vector, (int)k, t,
                (int)m, 0, w, (int)m);
    free(t);
    return SUCCESS;
}

status normal_solve(const struct normal *n, int64_t penalised, double penalty, const double *start,
                    double *w) {
    for (int64_t i = 0; i < n->k; i++)
        for (int64_t j = 0; j < n->m; j++)
            w[i * n->m + j] =
                n->h[i * n->m + j] + (start && i < penalised ? penalty * start[i * n->m + j] : 0);
    if (n->value) return solve_by_eigenvalues(n, w);
    lapack_int info = LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'U', (lapack_int)n->k, (lapack_int)n->m, n->g,
                                     (lapack_int)n->k, w, (lapack_int)n->m);
    return info ? status_fail(STATUS_INTERNAL, "LAPACK dpotrs failed (%d)", (int)info) : SUCCESS;
}

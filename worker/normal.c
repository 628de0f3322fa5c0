#include "worker/normal.h"
#include "worker/matmul.h"

#include <lapacke.h>
#include <stdlib.h>
#include <string.h>

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
    free((*normal)->part);
    free(*normal);
    *normal = NULL;
}

void normal_add_gram(struct normal *n, int64_t rows, const float *u, int threads) {
    matmul_gram(n->k, rows, u, n->part, threads);
#pragma omp parallel for num_threads(threads) schedule(static, 8)
    for (int64_t i = 0; i < n->k; i++)
        for (int64_t j = i; j < n->k; j++) n->g[i * n->k + j] += n->part[i * n->k + j];
}

void normal_add_cross(struct normal *n, int64_t rows, const float *u, const float *y, int threads) {
    matmul_transposed(n->k, n->m, rows, u, y, n->part, threads);
    for (int64_t i = 0; i < n->k * n->m; i++) n->h[i] += n->part[i];
}

void normal_clear_cross(struct normal *n) {
    memset(n->h, 0, (size_t)(n->k * n->m) * sizeof *n->h);
}

status normal_sum_gram(struct normal *n, const struct comm *comm) {
    STATUS_TRY(comm_sum_f64(comm, n->g, (size_t)(n->k * n->k)));
    for (int64_t i = 0; i < n->k; i++)
        for (int64_t j = 0; j < i; j++) n->g[i * n->k + j] = n->g[j * n->k + i];
    return SUCCESS;
}

status normal_sum_cross(struct normal *n, const struct comm *comm) {
    return comm_sum_f64(comm, n->h, (size_t)(n->k * n->m));
}

status normal_factor(struct normal *n, int64_t penalised, double ridge, double *used) {
    int64_t k = n->k;
    double mean = 0, *diagonal = NULL;
    STATUS_TRY(memory_alloc("normal equations", (size_t)k, sizeof *diagonal, (void **)&diagonal));
    for (int64_t i = 0; i < k; i++) diagonal[i] = n->g[i * k + i];
    for (int64_t i = 0; i < penalised; i++) mean += diagonal[i] / (double)penalised;
    if (!(mean > 0)) mean = 1; /* all inputs are zero: the start is kept */
    status error = SUCCESS;
    for (int attempt = 0;; attempt++, ridge = ridge > 0 ? ridge * 10 : 1e-10) {
        /* The lower triangle still holds g; LAPACK works on the upper one. */
        for (int64_t i = 0; i < k; i++) {
            n->g[i * k + i] = diagonal[i] + (i < penalised ? ridge * mean : 0);
            for (int64_t j = i + 1; j < k; j++) n->g[i * k + j] = n->g[j * k + i];
        }
        lapack_int info = LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'U', (lapack_int)k, n->g, (lapack_int)k);
        if (info == 0) break;
        if (attempt == 16) {
            error = status_fail(STATUS_DATA, "a refit has no solution (the activations are not finite, or "
                                             "too few samples); raise refit.samples");
            break;
        }
    }
    free(diagonal);
    *used = ridge * mean;
    return error;
}

status normal_solve(const struct normal *n, int64_t penalised, double penalty, const double *start,
                    double *w) {
    for (int64_t i = 0; i < n->k; i++)
        for (int64_t j = 0; j < n->m; j++)
            w[i * n->m + j] =
                n->h[i * n->m + j] + (start && i < penalised ? penalty * start[i * n->m + j] : 0);
    lapack_int info = LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'U', (lapack_int)n->k, (lapack_int)n->m, n->g,
                                     (lapack_int)n->k, w, (lapack_int)n->m);
    return info ? status_fail(STATUS_INTERNAL, "LAPACK dpotrs failed (%d)", (int)info) : SUCCESS;
}

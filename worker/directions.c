#include "worker/directions.h"

#include "worker/grid.h"
#include "worker/normal.h"

#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

static float wanted(const struct directions *p, int64_t row, int64_t j) {
    const struct fit_call *call = p->data->call;
    return call->y[row * call->width + (p->data->column ? p->data->column[j] : j)];
}

/* One block of samples, on its own: the sums of float32 products depend on nothing else. */
static void add_block(const struct machine *machine, const struct directions *p, int64_t begin, int64_t end,
                      float *u, struct normal *normal) {
    int64_t k = p->m + 1;
    for (int64_t first = begin; first < end; first += NORMAL_ROWS) {
        int64_t n = end - first < NORMAL_ROWS ? end - first : NORMAL_ROWS;
        for (int64_t r = 0; r < n; r++) {
            for (int64_t j = 0; j < p->m; j++) u[r * k + j] = wanted(p, first + r, j);
            u[r * k + p->m] = 1;
        }
        normal_add_gram(normal, n, u, machine->threads);
    }
}

/* Sums of products of the outputs and of the outputs, over all ranks; (m + 1, m + 1). */
static status sum_products(const struct machine *machine, const struct directions *p, int64_t positions,
                           struct normal *normal) {
    float *u = NULL;
    double largest = 1;
    int64_t block = p->data->block * positions;
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t j = 0; j < p->m; j++)
            if (fabsf(wanted(p, r, j)) > largest) largest = fabs((double)wanted(p, r, j));
    STATUS_TRY(comm_max_f64(machine->world, &largest, 1));
    normal->grid_g = grid_for(largest * largest * (double)(p->data->total * positions));
    status error = memory_alloc("outputs", (size_t)(NORMAL_ROWS * (p->m + 1)), sizeof *u, (void **)&u);
    for (int64_t first = 0; first < p->rows && !error; first += block)
        add_block(machine, p, first, first + block < p->rows ? first + block : p->rows, u, normal);
    free(u);
    STATUS_TRY(comm_agree(machine->world, error));
    return normal_sum_gram(normal, machine->world);
}

/* Mean, and the eigenvectors of the covariance with the largest eigenvalues. */
static status find_directions(const struct machine *machine, struct directions *p,
                              const struct normal *normal) {
    int64_t k = p->m + 1, m = p->m;
    double *covariance = NULL, *value = NULL, n = normal->g[k * k - 1];
    status error = memory_alloc("a covariance", (size_t)(m * m), sizeof *covariance, (void **)&covariance);
    if (!error) error = memory_alloc("a covariance", (size_t)m, sizeof *value, (void **)&value);
    for (int64_t j = 0; j < m && !error; j++) p->mean[j] = n > 0 ? normal->g[j * k + m] / n : 0;
    for (int64_t i = 0; i < m && !error; i++)
        for (int64_t j = 0; j < m; j++)
            covariance[i * m + j] = normal->g[i * k + j] - n * p->mean[i] * p->mean[j];
    if (!error && comm_is_root(machine->world) &&
        LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', (lapack_int)m, covariance, (lapack_int)m, value) != 0)
        error = status_fail(STATUS_DATA,
                            "the activations are not finite; are there NaNs in the model or the data?");
    for (int64_t r = 0; r < p->rank && !error; r++) { /* ascending: the last ones are the largest */
        double towards = 0;
        for (int64_t j = 0; j < m; j++) towards += covariance[j * m + m - 1 - r] * p->mean[j];
        for (int64_t j = 0; j < m; j++)
            p->vector[j * p->rank + r] =
                towards < 0 ? -covariance[j * m + m - 1 - r] : covariance[j * m + m - 1 - r];
    }
    for (int64_t j = 0; j < m && !error; j++) p->variance[j] = value[m - 1 - j] > 0 ? value[m - 1 - j] : 0;
    free(covariance);
    free(value);
    STATUS_TRY(comm_agree(machine->world, error));
    STATUS_TRY(comm_bcast(machine->world, 0, p->variance, (size_t)m * sizeof *p->variance));
    return comm_bcast(machine->world, 0, p->vector, (size_t)(m * p->rank) * sizeof *p->vector);
}

status directions_find(const struct machine *machine, const struct fit_data *data, int64_t positions,
                       int64_t m, int64_t rank, struct directions *directions) {
    struct normal *normal = NULL;
    *directions = (struct directions){.data = data, .rows = data->n * positions, .m = m, .rank = rank};
    status error = memory_alloc("directions", (size_t)m, sizeof(double), (void **)&directions->mean);
    if (!error)
        error = memory_alloc("directions", (size_t)(m * rank), sizeof(double), (void **)&directions->vector);
    if (!error) error = memory_alloc("directions", (size_t)m, sizeof(double), (void **)&directions->variance);
    if (!error) error = normal_create(m + 1, 1, &normal);
    error = comm_agree(machine->world, error);
    if (!error) error = sum_products(machine, directions, positions, normal);
    if (!error) error = find_directions(machine, directions, normal);
    normal_destroy(&normal);
    return error;
}

void directions_free(struct directions *directions) {
    free(directions->mean);
    free(directions->vector);
    free(directions->variance);
    *directions = (struct directions){0};
}

void directions_project(const struct directions *d, int64_t rows, const float *y, bool centred, int threads,
                        float *z) {
    int64_t width = d->data->call->width;
    const int64_t *column = d->data->column;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t v = 0; v < d->rank; v++) {
            double sum = 0;
            for (int64_t j = 0; j < d->m; j++)
                sum += (y[r * width + (column ? column[j] : j)] - (centred ? d->mean[j] : 0)) *
                       d->vector[j * d->rank + v];
            z[r * d->rank + v] = (float)sum;
        }
}

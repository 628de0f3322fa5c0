#include "worker/factor.h"
#include "worker/grid.h"
#include "worker/normal.h"

#include <lapacke.h>
#include <stdlib.h>
#include <string.h>

struct projection {
    const struct fit_data *data;
    int64_t rows, m, rank; /* rows of this rank, outputs, directions */
    double *mean, *vector; /* [m], (m, rank) */
};

static float wanted(const struct projection *p, int64_t row, int64_t j) {
    const struct fit_call *call = p->data->call;
    return call->y[row * call->width + (p->data->column ? p->data->column[j] : j)];
}

/* One block of samples, on its own: the sums of float32 products depend on nothing else. */
static void add_block(const struct machine *machine, const struct projection *p, int64_t begin, int64_t end,
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
static status sum_products(const struct machine *machine, const struct projection *p, int64_t positions,
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
static status find_directions(const struct machine *machine, struct projection *p,
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
    for (int64_t j = 0; j < m && !error; j++) /* ascending: the last ones are the largest */
        for (int64_t r = 0; r < p->rank; r++) p->vector[j * p->rank + r] = covariance[j * m + m - 1 - r];
    free(covariance);
    free(value);
    STATUS_TRY(comm_agree(machine->world, error));
    return comm_bcast(machine->world, 0, p->vector, (size_t)(m * p->rank) * sizeof *p->vector);
}

/* (y - mean) V, (rows, rank) */
static void project(const struct projection *p, float *z) {
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t v = 0; v < p->rank; v++) {
            double sum = 0;
            for (int64_t j = 0; j < p->m; j++)
                sum += (wanted(p, r, j) - p->mean[j]) * p->vector[j * p->rank + v];
            z[r * p->rank + v] = (float)sum;
        }
}

/* With a bias, which the second factor's takes up. */
static status fit_left(const struct machine *machine, const struct opgraph *graph, const struct projection *p,
                       const struct fit_options *options, float *left, struct fit_result *result) {
    float *z = NULL, *bias = NULL;
    status error = memory_alloc("outputs", (size_t)(p->rows * p->rank), sizeof *z, (void **)&z);
    if (!error) error = memory_alloc("biases", (size_t)p->rank, sizeof *bias, (void **)&bias);
    error = comm_agree(machine->world, error);
    if (!error) {
        project(p, z);
        struct fit_call call = *p->data->call;
        call.y = z;
        call.width = p->rank;
        call.outcome = (struct outcome){0};
        struct fit_data data = *p->data;
        data.call = &call;
        data.column = NULL;
        error = fit_operation(machine, graph, &data, options, left, bias, result);
    }
    free(z);
    free(bias);
    return error;
}

status factor_fit(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                  int64_t m, const struct fit_options *options, float *left, float *right,
                  struct fit_result *result) {
    const struct op *op = data->call->op;
    const struct shape *out = &graph->value[op->out];
    struct projection p = {.data = data, .m = m, .rank = out->dim[out->rank - 1]};
    struct normal *normal = NULL;
    int64_t positions = shape_sample_count(out) / p.rank;
    p.rows = data->n * positions;
    status error = memory_alloc("directions", (size_t)m, sizeof *p.mean, (void **)&p.mean);
    if (!error)
        error = memory_alloc("directions", (size_t)(m * p.rank), sizeof *p.vector, (void **)&p.vector);
    if (!error) error = normal_create(m + 1, 1, &normal);
    error = comm_agree(machine->world, error);
    if (!error) error = sum_products(machine, &p, positions, normal);
    if (!error) error = find_directions(machine, &p, normal);
    if (!error) error = fit_left(machine, graph, &p, options, left, result);
    for (int64_t v = 0; v < p.rank && !error; v++)
        for (int64_t j = 0; j < m; j++) right[v * m + j] = (float)p.vector[j * p.rank + v];
    normal_destroy(&normal);
    free(p.mean);
    free(p.vector);
    return error;
}

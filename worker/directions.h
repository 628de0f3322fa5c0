/* The directions in which wanted outputs vary most: the principal components (Hotelling 1933) of a fit's
 * outputs y over all samples of all ranks. */
#ifndef GODWIT_WORKER_DIRECTIONS_H
#define GODWIT_WORKER_DIRECTIONS_H

#include "worker/fit.h"

struct directions {
    const struct fit_data *data; /* borrowed; its first call's outputs count */
    int64_t rows, m, rank;       /* rows of this rank, outputs, directions, rank <= m */
    double *mean, *vector;       /* [m], (m, rank) orthonormal columns, the largest first; owned */
    double *variance;            /* [m] along all directions, the largest first, times the rows; owned */
};

/* Of the outputs y (n, positions, width) of the first call, column[m] of them, NULL: all m. Each vector
 * points to where the mean is. Collective; the same bytes on every rank and any number of ranks, if blocks
 * are whole. DATA error if y is not finite. */
status directions_find(const struct machine *machine, const struct fit_data *data, int64_t positions,
                       int64_t m, int64_t rank, struct directions *directions) STATUS_MUST_USE;
void directions_free(struct directions *directions);

/* z (rows, rank) = (y - mean) V, or y V if not `centred`, of outputs y (rows, width). */
void directions_project(const struct directions *directions, int64_t rows, const float *y, bool centred,
                        int threads, float *z);

#endif

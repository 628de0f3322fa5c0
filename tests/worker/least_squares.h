/* Least squares by Gauss elimination in double precision: what fits are compared with. */
#ifndef GODWIT_TESTS_WORKER_LEAST_SQUARES_H
#define GODWIT_TESTS_WORKER_LEAST_SQUARES_H

#include <stdbool.h>
#include <stdint.h>

/* Solves a (k, k) w = b (k, m) with pivots; b becomes w, a is consumed. */
void gauss(int k, int m, double *a, double *b);
/* The ridge solution w (k, m) of rows u (n, k), y (n, m): the first `penalised` entries are drawn to `start`
 * (k, m), or to zero if it is NULL, by ridge times the mean of their diagonal. */
void ridge_solution(int n, int k, int m, const float *u, const float *y, int penalised, double ridge,
                    const double *start, double *w);
/* a[n] is within tolerance times the largest of b[n]; says so if it is not. */
bool close_to(const char *what, const float *a, const double *b, int64_t n, double tolerance);

#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "worker/least_squares.h"

void gauss(int k, int m, double *a, double *b) {
    for (int c = 0; c < k; c++) {
        int pivot = c;
        for (int r = c + 1; r < k; r++)
            if (fabs(a[r * k + c]) > fabs(a[pivot * k + c])) pivot = r;
        for (int j = 0; j < k; j++) {
            double t = a[c * k + j];
            a[c * k + j] = a[pivot * k + j];
            a[pivot * k + j] = t;
        }
        for (int j = 0; j < m; j++) {
            double t = b[c * m + j];
            b[c * m + j] = b[pivot * m + j];
            b[pivot * m + j] = t;
        }
        for (int r = 0; r < k; r++) {
            if (r == c) continue;
            double factor = a[r * k + c] / a[c * k + c];
            for (int j = c; j < k; j++) a[r * k + j] -= factor * a[c * k + j];
            for (int j = 0; j < m; j++) b[r * m + j] -= factor * b[c * m + j];
        }
    }
    for (int c = 0; c < k; c++)
        for (int j = 0; j < m; j++) b[c * m + j] /= a[c * k + c];
}

void ridge_solution(int n, int k, int m, const float *u, const float *y, int penalised, double ridge,
                    const double *start, double *w) {
    double *g = calloc((size_t)(k * k), sizeof *g), mean = 0;
    assert_non_null(g);
    memset(w, 0, (size_t)(k * m) * sizeof *w);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < k; i++) {
            for (int j = 0; j < k; j++) g[i * k + j] += (double)u[r * k + i] * u[r * k + j];
            for (int j = 0; j < m; j++) w[i * m + j] += (double)u[r * k + i] * y[r * m + j];
        }
    for (int i = 0; i < penalised; i++) mean += g[i * k + i] / penalised;
    for (int i = 0; i < penalised; i++) {
        g[i * k + i] += ridge * mean;
        for (int j = 0; j < m && start; j++) w[i * m + j] += ridge * mean * start[i * m + j];
    }
    gauss(k, m, g, w);
    free(g);
}

bool close_to(const char *what, const float *a, const double *b, int64_t n, double tolerance) {
    double scale = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(b[i]));
        worst = fmax(worst, fabs(a[i] - b[i]));
    }
    if (!(worst <= tolerance * scale)) print_error("%s: off by %g (scale %g)\n", what, worst, scale);
    return worst <= tolerance * scale;
}

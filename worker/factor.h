/* The closed-form fit of a layer that is a product of two: reduced-rank regression (Izenman 1975). Its
 * outputs y are projected on the `rank` directions V in which they vary most; the first factor is fitted to y
 * V, which gives what the least-squares fit of the whole layer, projected, would; the second starts as Vᵀ,
 * and is fitted as any layer afterwards. So the factors are best for the inputs that there are, not for all
 * alike as those of the kernel's singular values. */
#ifndef GODWIT_WORKER_FACTOR_H
#define GODWIT_WORKER_FACTOR_H

#include "worker/fit.h"

/* `data`: one call of the first factor, with y (n, rows, width) the outputs wanted of the second, `column`
 * [m] which of them it has, NULL: all m. Replaces both kernels: `left` as fit_operation() does, without a
 * bias, `right` (rank, m). Collective; every rank ends with the same bytes, whatever the number of ranks. */
status factor_fit(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                  int64_t m, const struct fit_options *options, float *left, float *right,
                  struct fit_result *result) STATUS_MUST_USE;

#endif

/* The closed-form fit of a separable convolution in the place of a plain one: of all depthwise and pointwise
 * kernels those whose product comes nearest to the outputs y of the plain convolution, for the inputs that
 * there are. For one input channel, the others given, that is a reduced-rank regression (Izenman 1975) of
 * what the others leave, in the metric of the Gram matrix of the channel's window; the channels take turns
 * until the error no longer falls. All of it needs the products of patches and outputs only, summed once. */
#ifndef GODWIT_WORKER_SEPARABLE_H
#define GODWIT_WORKER_SEPARABLE_H

#include "worker/fit.h"

/* Is the window with all channels small enough for the fit? */
bool separable_fits(const struct opgraph *graph, const struct op *depthwise);

/* `data`: one call of the depthwise operation, with y (n, rows, width) the outputs wanted of the pointwise
 * one after it, `column` [m] which of them it has, NULL: all m; `bias`: it has a bias, which its own fit
 * afterwards finds. Replaces depthwise (window, C, D) and pointwise (C * D, m), whose values on entry are the
 * start; the rounds of the options do not count. Collective; every rank ends with the same bytes, whatever
 * the number of ranks. DATA error if the activations are not finite. */
status separable_fit(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                     int64_t m, bool bias, const struct fit_options *options, float *depthwise,
                     float *pointwise, struct fit_result *result) STATUS_MUST_USE;

#endif

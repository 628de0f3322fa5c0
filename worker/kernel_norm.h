/* Kernel norms: what channels are worth by the kernels that make them. */
#ifndef GODWIT_WORKER_KERNEL_NORM_H
#define GODWIT_WORKER_KERNEL_NORM_H

#include "worker/migrate.h"
#include "worker/select.h"

/* The output channels of an operation's kernel, if it has one and makes its node's channels, or those inside
 * it: *channel
 * (borrowed) says of what group and class each is. 0 if not. */
int kernel_channels(const struct selection *selection, const struct op *op, const struct channel **channel);
/* Adds the squares of `n` values of its kernel, from value `first` on, to sum[channels], which
 * kernel_channels gave. */
void kernel_squares(const struct selection *selection, const struct op *op, int channels, int64_t first,
                    int64_t n, const float *values, double *sum);

/* norm[group][class] for every group of selection->map of which less is kept than it has: the sums of the
 * squares of the kernels that make the class. norm[group] is owned by the caller, also after an error, NULL
 * for other groups. No kernel need be in memory: `program` gives the weights of selection->graph, chunk by
 * chunk (its partition is not used), each kernel read by one rank. The same sums, to the bit, as of kernels
 * in memory, on any number of ranks. Collective. */
status kernel_norms(const struct machine *machine, const struct selection *selection,
                    const struct migration *program, double **norm) STATUS_MUST_USE;

#endif

/* Sums gradients over ranks in fused buckets while backward goes on. */
#ifndef GODWIT_WORKER_GRADIENT_SUM_H
#define GODWIT_WORKER_GRADIENT_SUM_H

#include "shared/comm.h"
#include "shared/op.h"

struct gradient_sum;

/* Buckets of about `bucket_bytes` over the trainable range of `grads` (borrowed), filled from its end, which
 * backward completes first. Only parameters that `used` [graph->nparams] marks are waited for. */
status gradient_sum_create(const struct comm *comm, const struct opgraph *graph, const bool *used,
                           struct params *grads, size_t bucket_bytes,
                           struct gradient_sum **sum) STATUS_MUST_USE;
void gradient_sum_destroy(struct gradient_sum **sum);

/* To be called from exec_options.grad_ready: starts a bucket's sum once all its parameters are ready; -1 lets
 * sums progress. An error is kept for gradient_sum_finish. Collective in order: every rank's backward must
 * report the same parameters in the same order. */
void gradient_sum_ready(struct gradient_sum *sum, int param);

/* Waits for all buckets; then grads hold the sums. Collective. */
status gradient_sum_finish(struct gradient_sum *sum) STATUS_MUST_USE;

#endif

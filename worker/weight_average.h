/* Exponential average of the weights over the steps (Polyak averaging), which generalises better than the
 * last step's. Not collective. */
#ifndef GODWIT_WORKER_WEIGHT_AVERAGE_H
#define GODWIT_WORKER_WEIGHT_AVERAGE_H

#include "io/checkpoint.h"
#include "shared/op.h"

struct weight_average;

/* The newest weights get the share 1/steps, or 10/(9 + n) at the n-th step while that is larger. */
status weight_average_create(const struct params *params, int64_t steps,
                             struct weight_average **average) STATUS_MUST_USE;
void weight_average_destroy(struct weight_average **average);
void weight_average_add(struct weight_average *average, const struct params *params);
struct params *weight_average_params(const struct weight_average *average); /* borrowed */
int64_t *weight_average_steps(struct weight_average *average);              /* so far; borrowed */

/* Adds its state to a checkpoint, to be written or read. */
void weight_average_checkpoint(struct weight_average *average, struct checkpoint *checkpoint);

#endif

/* Optimizers: one step over all trainable parameters, which lie in one range of the arena. Not collective. */
#ifndef GODWIT_WORKER_OPTIMIZER_H
#define GODWIT_WORKER_OPTIMIZER_H

#include "io/checkpoint.h"
#include "io/config.h"
#include "shared/op.h"

struct optimizer;

/* State (momentum or moments) for `params`, zero at first. Weight decay acts on parameters of rank 2 and
 * more. */
status optimizer_create(const struct optimizer_config *config, const struct opgraph *graph,
                        const struct params *params, int threads,
                        struct optimizer **optimizer) STATUS_MUST_USE;
void optimizer_destroy(struct optimizer **optimizer);

/* From now on only parameters with trained[i] change; NULL: all. The others' momentum goes on with their
 * gradients, so that they can be let go at any step. */
void optimizer_hold(struct optimizer *optimizer, const struct opgraph *graph, const struct params *params,
                    const bool *trained);

/* sgd: v = momentum·v + g; w -= rate·(v, or g + momentum·v with nesterov) and decoupled weight decay.
 * adamw: Loshchilov and Hutter 2019, with bias correction.
 * The gradient, of what may change, is first scaled down to the global norm `clip`, if that is set. Returns
 * that norm (0 without clip). */
double optimizer_step(struct optimizer *optimizer, struct params *params, const struct params *grads,
                      double rate);

/* Its state, one number for each of the trainable range, to be read or written: momentum or first moment, and
 * the second moment (NULL for sgd); and how many steps have been taken. Borrowed. */
float *optimizer_first(const struct optimizer *optimizer);
float *optimizer_second(const struct optimizer *optimizer);
int64_t *optimizer_steps(struct optimizer *optimizer);

/* Adds its state to a checkpoint, to be written or read. */
void optimizer_checkpoint(struct optimizer *optimizer, struct checkpoint *checkpoint);

#endif

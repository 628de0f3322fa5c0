/* Learning rate by step. */
#ifndef GODWIT_WORKER_LEARNING_RATE_H
#define GODWIT_WORKER_LEARNING_RATE_H

#include "io/config.h"

/* The rate of step `step` of `steps` (from 0):
 * constant   linear rise over the first `warmup` of the steps, then the peak;
 * cosine     the same rise, then half a cosine from the peak to final*peak (Loshchilov and Hutter 2017);
 * one_cycle  half a cosine up from peak/25 over the first 30 %, then half a cosine down to final*peak (Smith
 * 2018). */
double learning_rate_at(const struct schedule_config *schedule, int64_t step, int64_t steps);

#endif

/* Dropout masks, the same for every engine and any number of ranks and threads. */
#ifndef GODWIT_WORKER_ENGINES_DROPOUT_H
#define GODWIT_WORKER_ENGINES_DROPOUT_H

#include <stdint.h>

/* Fills mask[n] (n: draws for one sample) with 0 (probability `rate`) or 1/(1 - rate). Depends on its
 * arguments only: `value` is the value the dropout operation computes (it keeps its number when a graph is
 * cut), `sample` the sample's place in the global batch. */
void dropout_mask(uint64_t seed, uint64_t step, int value, uint64_t sample, float rate, int64_t n,
                  float *mask);

#endif

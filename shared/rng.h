/* Random numbers that depend on a key and a counter only, so that they are the same on any number of ranks:
 * SplitMix64 (Steele, Lea, Flood 2014) over a hash of the key. */
#ifndef GODWIT_SHARED_RNG_H
#define GODWIT_SHARED_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

/* A stream of its own for each (seed, stream, index), e.g. (seed, RNG_AUGMENT, epoch * n + sample). */
struct rng rng_make(uint64_t seed, uint64_t stream, uint64_t index);

enum rng_stream {
    RNG_INIT = 1,
    RNG_SHUFFLE,
    RNG_AUGMENT,
    RNG_DROPOUT,
    RNG_SPLIT,
    RNG_CALIBRATION,
    RNG_REPLACE
};

uint64_t rng_next(struct rng *rng);
double rng_uniform(struct rng *rng);                      /* [0, 1) */
double rng_normal(struct rng *rng);                       /* mean 0, variance 1 (Box-Muller) */
uint64_t rng_below(struct rng *rng, uint64_t n);          /* [0, n), unbiased */
void rng_shuffle(struct rng *rng, int64_t *v, int64_t n); /* Fisher-Yates */

#endif

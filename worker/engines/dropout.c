#include "worker/engines/dropout.h"

#include "shared/rng.h"

void dropout_mask(uint64_t seed, uint64_t step, int value, uint64_t sample, float rate, int64_t n,
                  float *mask) {
    struct rng step_rng = rng_make(seed, RNG_DROPOUT, step);
    struct rng rng = rng_make(rng_next(&step_rng), (uint64_t)value, sample);
    double threshold = (double)rate * 0x1p32; /* 32 random bits an element are compared with it */
    float keep = rate < 1 ? 1 / (1 - rate) : 0;
    for (int64_t i = 0; i < n; i += 2) {
        uint64_t bits = rng_next(&rng);
        mask[i] = (double)(bits >> 32) < threshold ? 0 : keep;
        if (i + 1 < n) mask[i + 1] = (double)(bits & 0xffffffff) < threshold ? 0 : keep;
    }
}

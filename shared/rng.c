#include "shared/rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct rng rng_make(uint64_t seed, uint64_t stream, uint64_t index) {
    uint64_t h = mix(seed + 0x9e3779b97f4a7c15u);
    h = mix(h ^ (stream + 0x9e3779b97f4a7c15u));
    h = mix(h ^ (index + 0x9e3779b97f4a7c15u));
    return (struct rng){h};
}

uint64_t rng_next(struct rng *rng) {
    rng->state += 0x9e3779b97f4a7c15u;
    return mix(rng->state);
}

double rng_uniform(struct rng *rng) {
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *rng) {
    double u = 1.0 - rng_uniform(rng), v = rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t rng_below(struct rng *rng, uint64_t n) {
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x;
    do x = rng_next(rng);
    while (x >= limit);
    return x % n;
}

void rng_shuffle(struct rng *rng, int64_t *v, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)rng_below(rng, (uint64_t)i + 1);
        int64_t t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

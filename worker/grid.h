/* Sums that do not depend on the order, and so not on the number of ranks: every term is first rounded to a
 * multiple of a power of two, so coarse that all additions of such multiples are exact. */
#ifndef GODWIT_WORKER_GRID_H
#define GODWIT_WORKER_GRID_H

#include <math.h>

/* The grid for sums of absolute value up to `bound`: what grid_round adds and takes away again. 0, which
 * rounds nothing, where the bound is not a positive number. */
static inline double grid_for(double bound) {
    int exponent;
    if (!(bound > 0) || isinf(bound)) return 0;
    frexp(bound, &exponent);
    return ldexp(1.5, exponent);
}

static inline double grid_round(double grid, double v) {
    return (v + grid) - grid;
}

/* To 20 bits: a number computed from sums of which only the last bits depend on the order. */
static inline double grid_coarse(double v) {
    int exponent;
    double mantissa = frexp(v, &exponent);
    return ldexp(nearbyint(ldexp(mantissa, 20)), exponent - 20);
}

#endif

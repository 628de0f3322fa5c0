/* What quantize() rounds to: multiples of a scale that few bits hold. */
#ifndef GODWIT_SHARED_ROUNDING_H
#define GODWIT_SHARED_ROUNDING_H

#include "shared/plan.h"

#include <math.h>

/* (whole number - zero) * scale, for whole numbers from lowest to highest. Scale 0: everything stays. */
struct rounding {
    double scale, zero, lowest, highest;
};

static inline double rounding_apply(const struct rounding *r, double x) {
    if (!(r->scale > 0)) return x;
    double whole = rint(x / r->scale) + r->zero;
    whole = whole < r->lowest ? r->lowest : whole > r->highest ? r->highest : whole;
    return (whole - r->zero) * r->scale;
}

/* Is the expression quantize(x, ..., rounding gptq)? Then the inputs of the layer decide how x is rounded
 * (worker/gptq.h). */
bool rounding_minds_inputs(const struct expr *expr);

/* Of a quantize(): the roundings (owned by the caller, on failure NULL) of its groups of values that have a
 * scale together, for all the values x of its argument; and the number of the one at a position of x. */
status rounding_groups(const struct expr *expr, const float *x, int *n,
                       struct rounding **rounding) STATUS_MUST_USE;
int rounding_group_at(const struct expr *expr, int64_t position);

#endif

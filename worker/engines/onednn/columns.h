/* Kernels over rows of channels: per-channel scaling, sums, masks.
 *
 * Dense channels-last data is seen as rows of `width` floats, a multiple of both COLUMNS_TILE and the number
 * of channels, so that every channel count runs on whole vectors; what is left over at the end (the tail)
 * goes element by element. Per-channel values are spread to `width` first. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_COLUMNS_H
#define GODWIT_WORKER_ENGINES_ONEDNN_COLUMNS_H

#include <math.h>

#include "shared/op.h"
#include "worker/engines/vector.h"

#define COLUMNS_TILE (4 * VEC)

struct columns {
    int64_t channels, width, rows, tail; /* rows*width + tail elements */
    int threads;
};

struct columns columns_make(int64_t count, int64_t channels, int threads);

/* Floats of a spread array: width, whatever the count. */
void columns_spread(const struct columns *columns, const float *channel, float *wide);

/* Doubles that the sums below need as `parts`. */
size_t columns_parts(const struct columns *columns);

/* An activation whose derivative follows from the sign and size of its result: v > 0 ? min(v, max) : slope*v.
 */
struct clamp {
    bool on; /* false: identity, slope 1 and max INFINITY */
    float slope, max;
};
#define CLAMP_NONE ((struct clamp){.slope = 1, .max = INFINITY})
/* NaN stays NaN. */
static inline float clamp_value(const struct clamp *clamp, float v) {
    float high = v > clamp->max ? clamp->max : v, low = clamp->slope > 0 ? clamp->slope * v : 0;
    return v < 0 ? low : high;
}

static inline vec clamp_vec(const struct clamp *clamp, vec v) {
    vec low = {0};
    if (clamp->slope > 0) low = v * clamp->slope;
    const veci over = v > clamp->max, under = v < 0; /* NaN is neither */
    const veci high = (over & (veci)((vec){0} + clamp->max)) | (~over & (veci)v);
    return (vec)((under & (veci)low) | (~under & high));
}

/* The derivative, by the value before or after the activation. */
static inline float clamp_slope(const struct clamp *clamp, float v) {
    float high = v < clamp->max ? 1.0f : 0.0f;
    return v > 0 ? high : clamp->slope;
}

/* False if `act` is not of that kind. NULL is the identity. */
bool clamp_of(const struct op *act, struct clamp *clamp);

/* y = clamp((x - mean)*scale + shift); arrays spread. x may be y. */
void columns_affine(const struct columns *columns, const struct clamp *clamp, const float *x,
                    const float *mean, const float *scale, const float *shift, float *y);

/* sums[2C]: of x - mean and (x - mean)^2, per channel, in double precision. */
void columns_moments(const struct columns *columns, const float *x, const float *mean, double *parts,
                     double *sums);

/* sums[2C]: of dz and dz*(x - mean), where dz = dy * clamp'((x - mean)*scale + shift). */
void columns_norm_sums(const struct columns *columns, const struct clamp *clamp, const float *x,
                       const float *dy, const float *mean, const float *scale, const float *shift,
                       double *parts, double *sums);

/* dx = dz*scale + (x - mean)*slope + offset, dz as above; `add`: added to dx. dx may be dy. */
void columns_norm_backward(const struct columns *columns, const struct clamp *clamp, const float *x,
                           const float *dy, const float *mean, const float *scale, const float *shift,
                           const float *slope, const float *offset, bool add, float *dx);

/* dy *= clamp'(by the result y), in place, and sums[C] of it per channel (sums NULL: not wanted). */
void columns_mask(const struct columns *columns, const struct clamp *clamp, const float *y, float *dy,
                  double *parts, double *sums);

/* y = clamp(y + bias), bias spread or NULL. */
void columns_bias(const struct columns *columns, const struct clamp *clamp, const float *bias, float *y);

/* Are all values finite? */
bool array_finite(int64_t count, const float *v);

/* y = clamp(a + b); any may be the same. */
void array_add(int64_t count, int threads, const struct clamp *clamp, const float *a, const float *b,
               float *y);

#endif

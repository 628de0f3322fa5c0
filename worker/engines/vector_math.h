/* Functions of single precision that the compiler can vectorise in a loop: straight-line code without calls,
 * tables or branches. Errors are relative and hold on every processor; tests/worker/test_vector_math.c
 * measures them. NaN gives NaN.
 *
 * Coefficients are minimax polynomials (Remez's algorithm in quadruple precision). */
#ifndef GODWIT_WORKER_ENGINES_VECTOR_MATH_H
#define GODWIT_WORKER_ENGINES_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x as exponent * ln 2 + r, |r| <= ln 2 / 2; |x| up to 10^4. */
static inline float exp_reduce(float x, int32_t *exponent) {
    const float round = 12582912; /* 1.5 * 2^23: adding it leaves a whole number in the last bits */
    const float t = x * 1.44269504f + round, n = t - round;
    *exponent = (int32_t)(float_bits(t) - float_bits(round));
    return (x - n * 0.693145752f) - n * 1.42860677e-6f; /* ln 2 in two parts, n times the first is exact */
}

/* (e^r - 1 - r) / r^2 */
static inline float exp_remainder(float r) {
    return 4.99999935e-1f +
           r * (1.66665207e-1f + r * (4.16683879e-2f + r * (8.36871519e-3f + r * 1.38146021e-3f)));
}

/* 2^n for n from -126 to 127 */
static inline float exp2_whole(int32_t n) {
    return bits_float((uint32_t)(n + 127) << 23);
}

/* e^x: 2e-7; denormal results are less exact. */
static inline float exp_f32(float x) {
    int32_t n;
    x = x < -104 ? -104 : x;
    x = x > 89 ? 89 : x;
    const float r = exp_reduce(x, &n), y = 1 + (r + r * r * exp_remainder(r));
    /* In two steps, as 2^n may be out of range where y * 2^n is not. */
    return y * exp2_whole(n >> 1) * exp2_whole(n - (n >> 1));
}

/* e^x - 1: 3e-7 */
static inline float expm1_f32(float x) {
    int32_t n;
    x = x < -30 ? -30 : x;
    x = x > 89 ? 89 : x;
    const float r = exp_reduce(x, &n), y = r + r * r * exp_remainder(r);
    const float half = exp2_whole(n - 1); /* 2^n may be out of range */
    return 2 * (half * y + (half - 0.5f));
}

/* 1 / (1 + e^-x): 3e-7 */
static inline float sigmoid_f32(float x) {
    return 1 / (1 + exp_f32(-x));
}

/* 5e-7 */
static inline float tanh_f32(float x) {
    float a = fabsf(x);
    a = a > 20 ? 20 : a;
    const float e = expm1_f32(2 * a);
    return copysignf(e / (e + 2), x);
}

/* log(1 + e^x): 4e-7 */
static inline float softplus_f32(float x) {
    const float e = exp_f32(-fabsf(x));
    const float log1p =
        e * (0.99999997f +
             e * (-0.499994931f +
                  e * (0.333190965f +
                       e * (-0.248429803f +
                            e * (0.191060003f +
                                 e * (-0.136632336f +
                                      e * (7.82258204e-2f + e * (-2.95051638e-2f + e * 5.23267664e-3f))))))));
    return (x > 0 ? x : 0) + (x != x ? x : log1p);
}

/* The normal distribution's cumulative function, (1 + erf(x/sqrt 2))/2: 2e-7 of one, and 1e-3 of itself down
 * to 1e-8. By -log(erfc u) = u P(u). */
static inline float normal_cdf_f32(float x) {
    const float u = fabsf(x) * 0.707106781f;
    const float p =
        1.12838067f +
        u * (6.36592217e-1f +
             u * (1.0293737e-1f +
                  u * (-1.95835039e-2f +
                       u * (4.49796321e-4f +
                            u * (1.18972324e-3f +
                                 u * (-4.29993238e-4f +
                                      u * (7.60954017e-5f + u * (-7.0346512e-6f + u * 2.69294631e-7f))))))));
    const float tail = 0.5f * exp_f32(-u * p);
    return x > 0 ? 1 - tail : tail;
}

#endif

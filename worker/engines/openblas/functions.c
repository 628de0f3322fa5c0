#include "worker/engines/openblas/functions.h"
#include "worker/engines/vector_math.h"

#include <math.h>
#include <string.h>

#define SELU_ALPHA 1.6732632423543772f
#define SELU_SCALE 1.0507009873554805f
#define NORMAL_DENSITY 0.39894228040143268f /* of 0: 1/sqrt(2 pi) */
#define GELU_SLOPE 0.79788456080286536f     /* sqrt(2/pi) */
#define GELU_CUBIC 0.044715f

static inline float clip01(float x) {
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Each function: f(x) and f'(x), with the three numbers of the operation. NaN stays NaN. */
#define FUNCTION(name) static inline float name(float x, float alpha, float beta, float gamma)
#define UNUSED(a, b, c) ((void)(a), (void)(b), (void)(c))

FUNCTION(relu) {
    float y = x <= gamma ? (alpha == 0 ? 0 : alpha * (x - gamma)) : x;
    return y >= beta ? beta : y;
}
FUNCTION(relu_slope) {
    return x >= beta ? 0 : x <= gamma ? alpha : 1;
}
FUNCTION(sigmoid_value) {
    UNUSED(alpha, beta, gamma);
    return sigmoid_f32(x);
}
FUNCTION(sigmoid_slope) {
    UNUSED(alpha, beta, gamma);
    float y = sigmoid_f32(x);
    return y * (1 - y);
}
FUNCTION(tanh_value) {
    UNUSED(alpha, beta, gamma);
    return tanh_f32(x);
}
FUNCTION(tanh_slope) {
    UNUSED(alpha, beta, gamma);
    float y = tanh_f32(x);
    return 1 - y * y;
}
FUNCTION(softplus) {
    UNUSED(alpha, beta, gamma);
    return softplus_f32(x);
}
FUNCTION(softsign) {
    UNUSED(alpha, beta, gamma);
    return x / (1 + fabsf(x));
}
FUNCTION(softsign_slope) {
    UNUSED(alpha, beta, gamma);
    float d = 1 + fabsf(x);
    return 1 / (d * d);
}
FUNCTION(elu) {
    UNUSED(beta, beta, gamma);
    return x > 0 ? x : alpha * expm1_f32(x);
}
FUNCTION(elu_slope) {
    UNUSED(beta, beta, gamma);
    return x > 0 ? 1 : alpha * exp_f32(x);
}
FUNCTION(selu) {
    UNUSED(alpha, beta, gamma);
    return SELU_SCALE * (x > 0 ? x : SELU_ALPHA * expm1_f32(x));
}
FUNCTION(selu_slope) {
    UNUSED(alpha, beta, gamma);
    return SELU_SCALE * (x > 0 ? 1 : SELU_ALPHA * exp_f32(x));
}
FUNCTION(exponential) {
    UNUSED(alpha, beta, gamma);
    return exp_f32(x);
}
FUNCTION(silu) {
    UNUSED(alpha, beta, gamma);
    return x * sigmoid_f32(x);
}
FUNCTION(silu_slope) {
    UNUSED(alpha, beta, gamma);
    float s = sigmoid_f32(x);
    return s * (1 + x * (1 - s));
}
FUNCTION(gelu) {
    UNUSED(alpha, beta, gamma);
    return x * normal_cdf_f32(x);
}
FUNCTION(gelu_slope) {
    UNUSED(alpha, beta, gamma);
    return normal_cdf_f32(x) + x * NORMAL_DENSITY * exp_f32(-0.5f * x * x);
}
/* By (1 + tanh(v))/2 = sigmoid(2v). */
static inline float gelu_tanh_gate(float x) {
    return sigmoid_f32(2 * GELU_SLOPE * (x + GELU_CUBIC * x * x * x));
}
FUNCTION(gelu_tanh) {
    UNUSED(alpha, beta, gamma);
    return x * gelu_tanh_gate(x);
}
FUNCTION(gelu_tanh_slope) {
    UNUSED(alpha, beta, gamma);
    float s = gelu_tanh_gate(x);
    return s + 2 * x * s * (1 - s) * GELU_SLOPE * (1 + 3 * GELU_CUBIC * x * x);
}
FUNCTION(hard_sigmoid) {
    UNUSED(gamma, gamma, gamma);
    return clip01(alpha * x + beta);
}
FUNCTION(hard_sigmoid_slope) {
    UNUSED(gamma, gamma, gamma);
    float y = alpha * x + beta;
    return y > 0 && y < 1 ? alpha : 0;
}
FUNCTION(hard_silu) {
    UNUSED(alpha, beta, gamma);
    return x * clip01(x / 6 + 0.5f);
}
FUNCTION(hard_silu_slope) {
    UNUSED(alpha, beta, gamma);
    return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5f;
}

FUNCTION(mish) {
    UNUSED(alpha, beta, gamma);
    return x * tanh_f32(softplus(x, 0, 0, 0));
}
FUNCTION(mish_slope) {
    UNUSED(alpha, beta, gamma);
    float t = tanh_f32(softplus(x, 0, 0, 0));
    return t + x * sigmoid_f32(x) * (1 - t * t);
}
FUNCTION(clip) {
    UNUSED(gamma, gamma, gamma);
    return x < alpha ? alpha : x > beta ? beta : x;
}
FUNCTION(clip_slope) {
    UNUSED(gamma, gamma, gamma);
    return x < alpha || x > beta ? 0 : 1;
}
FUNCTION(log_value) {
    UNUSED(alpha, beta, gamma);
    return logf(x);
}
FUNCTION(log_slope) {
    UNUSED(alpha, beta, gamma);
    return 1 / x;
}
FUNCTION(rsqrt) {
    UNUSED(alpha, alpha, alpha);
    float v = x + beta;
    return 1 / sqrtf(v < gamma ? gamma : v);
}
FUNCTION(rsqrt_slope) {
    UNUSED(alpha, alpha, alpha);
    float v = x + beta;
    return v < gamma ? 0 : -0.5f / (v * sqrtf(v));
}

FUNCTION(not_equal) {
    UNUSED(alpha, beta, beta);
    return x != gamma;
}
FUNCTION(not_equal_slope) {
    UNUSED(alpha, beta, gamma);
    (void)x;
    return 0;
}

#define VALUES(function)                                                                                     \
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = function(x[i], alpha, beta, gamma);           \
    break

void function_values(const struct activation_function *f, const float *x, int64_t n, float *y) {
    const float alpha = f->alpha, beta = f->beta, gamma = f->gamma;
    switch (f->kind) {
    case ACTIVATION_LINEAR:
        if (y != x) memcpy(y, x, (size_t)n * sizeof *y);
        break;
    case ACTIVATION_RELU:
        VALUES(relu);
    case ACTIVATION_SIGMOID:
        VALUES(sigmoid_value);
    case ACTIVATION_TANH:
        VALUES(tanh_value);
    case ACTIVATION_SOFTPLUS:
        VALUES(softplus);
    case ACTIVATION_SOFTSIGN:
        VALUES(softsign);
    case ACTIVATION_ELU:
        VALUES(elu);
    case ACTIVATION_SELU:
        VALUES(selu);
    case ACTIVATION_EXPONENTIAL:
        VALUES(exponential);
    case ACTIVATION_SILU:
        VALUES(silu);
    case ACTIVATION_GELU:
        VALUES(gelu);
    case ACTIVATION_GELU_TANH:
        VALUES(gelu_tanh);
    case ACTIVATION_HARD_SIGMOID:
        VALUES(hard_sigmoid);
    case ACTIVATION_HARD_SILU:
        VALUES(hard_silu);
    case ACTIVATION_MISH:
        VALUES(mish);
    case ACTIVATION_CLIP:
        VALUES(clip);
    case ACTIVATION_LOG:
        VALUES(log_value);
    case ACTIVATION_RSQRT:
        VALUES(rsqrt);
    case ACTIVATION_NOT_EQUAL:
        VALUES(not_equal);
    }
}

#define SLOPES(function)                                                                                     \
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * function(x[i], alpha, beta, gamma);  \
    break

void function_slopes(const struct activation_function *f, const float *x, const float *dy, int64_t n,
                     float *dx) {
    const float alpha = f->alpha, beta = f->beta, gamma = f->gamma;
    switch (f->kind) {
    case ACTIVATION_LINEAR:
        if (dx != dy) memcpy(dx, dy, (size_t)n * sizeof *dx);
        break;
    case ACTIVATION_RELU:
        SLOPES(relu_slope);
    case ACTIVATION_SIGMOID:
        SLOPES(sigmoid_slope);
    case ACTIVATION_TANH:
        SLOPES(tanh_slope);
    case ACTIVATION_SOFTPLUS:
        SLOPES(sigmoid_value);
    case ACTIVATION_SOFTSIGN:
        SLOPES(softsign_slope);
    case ACTIVATION_ELU:
        SLOPES(elu_slope);
    case ACTIVATION_SELU:
        SLOPES(selu_slope);
    case ACTIVATION_EXPONENTIAL:
        SLOPES(exponential);
    case ACTIVATION_SILU:
        SLOPES(silu_slope);
    case ACTIVATION_GELU:
        SLOPES(gelu_slope);
    case ACTIVATION_GELU_TANH:
        SLOPES(gelu_tanh_slope);
    case ACTIVATION_HARD_SIGMOID:
        SLOPES(hard_sigmoid_slope);
    case ACTIVATION_HARD_SILU:
        SLOPES(hard_silu_slope);
    case ACTIVATION_MISH:
        SLOPES(mish_slope);
    case ACTIVATION_CLIP:
        SLOPES(clip_slope);
    case ACTIVATION_LOG:
        SLOPES(log_slope);
    case ACTIVATION_RSQRT:
        SLOPES(rsqrt_slope);
    case ACTIVATION_NOT_EQUAL:
        SLOPES(not_equal_slope);
    }
}

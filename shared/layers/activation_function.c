/* Activation functions as Keras names them: to operations. */
#include "shared/layers/emit.h"

#include <math.h>
#include <string.h>

typedef status composition(struct lowering *lowering, int value, int *out);

static status apply(struct lowering *lowering, enum activation kind, double alpha, double beta, double gamma,
                    int value, int *out) {
    struct activation_function function = {
        .kind = kind, .alpha = (float)alpha, .beta = (float)beta, .gamma = (float)gamma};
    return emit_activation(lowering, &function, value, out);
}

/* ---- functions of several operations ---- */

/* -softplus(-x) */
static status log_sigmoid(struct lowering *lowering, int value, int *out) {
    STATUS_TRY(emit_affine(lowering, value, -1, 0, &value));
    STATUS_TRY(apply(lowering, ACTIVATION_SOFTPLUS, 0, 0, 0, value, &value));
    return emit_affine(lowering, value, -1, 0, out);
}

static status tanh_shrink(struct lowering *lowering, int value, int *out) {
    int shrunk;
    STATUS_TRY(apply(lowering, ACTIVATION_TANH, 0, 0, 0, value, &shrunk));
    return emit_binary(lowering, BINARY_SUB, value, shrunk, out);
}

/* x - clip(x, -1/2, 1/2) */
static status soft_shrink(struct lowering *lowering, int value, int *out) {
    int clipped;
    STATUS_TRY(apply(lowering, ACTIVATION_CLIP, -0.5, 0.5, 0, value, &clipped));
    return emit_binary(lowering, BINARY_SUB, value, clipped, out);
}

/* What of x is above 1/2, less what of -x is. */
static status hard_shrink(struct lowering *lowering, int value, int *out) {
    int high, low;
    STATUS_TRY(apply(lowering, ACTIVATION_RELU, 0, INFINITY, 0.5, value, &high));
    STATUS_TRY(emit_affine(lowering, value, -1, 0, &low));
    STATUS_TRY(apply(lowering, ACTIVATION_RELU, 0, INFINITY, 0.5, low, &low));
    return emit_binary(lowering, BINARY_SUB, high, low, out);
}

/* clip((x + 1) / 2, 0, 1)^2 + max(x - 1, 0) */
static status sparse_plus(struct lowering *lowering, int value, int *out) {
    int square, over;
    STATUS_TRY(apply(lowering, ACTIVATION_HARD_SIGMOID, 0.5, 0.5, 0, value, &square));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, square, square, &square));
    STATUS_TRY(emit_affine(lowering, value, 1, -1, &over));
    STATUS_TRY(apply(lowering, ACTIVATION_RELU, 0, INFINITY, 0, over, &over));
    return emit_binary(lowering, BINARY_ADD, square, over, out);
}

/* (x + sqrt(x^2 + 4)) / 2; the root of z is z / sqrt(z) */
static status squareplus(struct lowering *lowering, int value, int *out) {
    int square, root;
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, value, value, &square));
    STATUS_TRY(emit_affine(lowering, square, 1, 4, &square));
    STATUS_TRY(apply(lowering, ACTIVATION_RSQRT, 0, 0, 1e-30, square, &root));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, square, root, &root));
    STATUS_TRY(emit_binary(lowering, BINARY_ADD, value, root, &root));
    return emit_affine(lowering, root, 0.5f, 0, out);
}

static status softmax(struct lowering *lowering, int value, int *out) {
    return emit_softmax(lowering, value, false, out);
}

/* x - max - log(sum(exp(x - max))) */
static status log_softmax(struct lowering *lowering, int value, int *out) {
    int last = lowering_shape(lowering, value)->rank - 1, sum;
    STATUS_TRY(emit_reduce(lowering, REDUCE_MAX, value, last, true, &sum));
    STATUS_TRY(emit_binary(lowering, BINARY_SUB, value, sum, &value));
    STATUS_TRY(apply(lowering, ACTIVATION_EXPONENTIAL, 0, 0, 0, value, &sum));
    STATUS_TRY(emit_reduce(lowering, REDUCE_SUM, sum, last, true, &sum));
    STATUS_TRY(apply(lowering, ACTIVATION_LOG, 0, 0, 0, sum, &sum));
    return emit_binary(lowering, BINARY_SUB, value, sum, out);
}

/* ---- names ---- */

/* One operation, or a composition. */
static const struct named_activation {
    const char *name;
    struct activation_function function;
    composition *compose;
} activations[] = {
    {"linear", {.kind = ACTIVATION_LINEAR}, NULL},
    {"relu", {.kind = ACTIVATION_RELU, .beta = INFINITY}, NULL},
    {"relu6", {.kind = ACTIVATION_RELU, .beta = 6}, NULL},
    {"leaky_relu", {.kind = ACTIVATION_RELU, .alpha = 0.2f, .beta = INFINITY}, NULL}, /* the layer's: 0.3 */
    {"sigmoid", {.kind = ACTIVATION_SIGMOID}, NULL},
    {"tanh", {.kind = ACTIVATION_TANH}, NULL},
    {"softmax", {0}, softmax},
    {"softmax_v2", {0}, softmax}, /* so written by some TensorFlow 2.x */
    {"log_softmax", {0}, log_softmax},
    {"softplus", {.kind = ACTIVATION_SOFTPLUS}, NULL},
    {"softsign", {.kind = ACTIVATION_SOFTSIGN}, NULL},
    {"elu", {.kind = ACTIVATION_ELU, .alpha = 1}, NULL},
    {"celu", {.kind = ACTIVATION_ELU, .alpha = 1}, NULL}, /* with its default alpha of 1 */
    {"selu", {.kind = ACTIVATION_SELU}, NULL},
    {"exponential", {.kind = ACTIVATION_EXPONENTIAL}, NULL},
    {"silu", {.kind = ACTIVATION_SILU}, NULL},
    {"swish", {.kind = ACTIVATION_SILU}, NULL},
    {"gelu", {.kind = ACTIVATION_GELU}, NULL},
    {"mish", {.kind = ACTIVATION_MISH}, NULL},
    {"hard_sigmoid", {.kind = ACTIVATION_HARD_SIGMOID, .alpha = 1.0f / 6, .beta = 0.5f}, NULL},
    {"hard_silu", {.kind = ACTIVATION_HARD_SILU}, NULL},
    {"hard_swish", {.kind = ACTIVATION_HARD_SILU}, NULL},
    {"hard_tanh", {.kind = ACTIVATION_CLIP, .alpha = -1, .beta = 1}, NULL},
    {"hard_shrink", {0}, hard_shrink},
    {"soft_shrink", {0}, soft_shrink},
    {"tanh_shrink", {0}, tanh_shrink},
    {"log_sigmoid", {0}, log_sigmoid},
    {"sparse_sigmoid", {.kind = ACTIVATION_HARD_SIGMOID, .alpha = 0.5f, .beta = 0.5f}, NULL},
    {"sparse_plus", {0}, sparse_plus},
    {"squareplus", {0}, squareplus},
};

static const struct named_activation *find(const char *name) {
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(activations[i].name, name)) return &activations[i];
    return NULL;
}

status activation_check(const char *name) {
    if (find(name)) return SUCCESS;
    return status_fail(STATUS_UNSUPPORTED, "activation \"%s\" is not supported", name);
}

bool activation_is_elementwise(const char *name) {
    const struct named_activation *a = find(name);
    return a && a->compose != softmax && a->compose != log_softmax;
}

status activation_find(const char *name, int keras_version, struct activation_function *function) {
    const struct named_activation *a = find(name);
    if (!a || a->compose)
        return status_fail(STATUS_UNSUPPORTED, "activation \"%s\" is not supported here", name);
    *function = a->function;
    if (!strcmp(name, "hard_sigmoid") && keras_version < 3) function->alpha = 0.2f;
    return SUCCESS;
}

status lowering_add_activation(struct lowering *lowering, const char *name, int value, int *out) {
    const struct named_activation *a = find(name);
    struct activation_function function;
    if (!a) return activation_check(name);
    if (a->compose) return a->compose(lowering, value, out);
    STATUS_TRY(activation_find(name, lowering->keras_version, &function));
    *out = value;
    return function.kind == ACTIVATION_LINEAR ? SUCCESS : emit_activation(lowering, &function, value, out);
}

/* Activation functions as Keras names them: to operations. */
#include "shared/layers/emit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGUMENTS 3

typedef status composition(struct lowering *lowering, const double *argument, int value, int *out);

static status apply(struct lowering *lowering, enum activation kind, double alpha, double beta, double gamma,
                    int value, int *out) {
    struct activation_function function = {
        .kind = kind, .alpha = (float)alpha, .beta = (float)beta, .gamma = (float)gamma};
    return emit_activation(lowering, &function, value, out);
}

/* ---- functions of several operations ---- */

/* alpha * elu(x / alpha) */
static status celu(struct lowering *lowering, const double *argument, int value, int *out) {
    STATUS_TRY(emit_affine(lowering, value, (float)(1 / argument[0]), 0, &value));
    STATUS_TRY(apply(lowering, ACTIVATION_ELU, 1, 0, 0, value, &value));
    return emit_affine(lowering, value, (float)argument[0], 0, out);
}

/* -softplus(-x) */
static status log_sigmoid(struct lowering *lowering, const double *argument, int value, int *out) {
    (void)argument;
    STATUS_TRY(emit_affine(lowering, value, -1, 0, &value));
    STATUS_TRY(apply(lowering, ACTIVATION_SOFTPLUS, 0, 0, 0, value, &value));
    return emit_affine(lowering, value, -1, 0, out);
}

static status tanh_shrink(struct lowering *lowering, const double *argument, int value, int *out) {
    int shrunk;
    (void)argument;
    STATUS_TRY(apply(lowering, ACTIVATION_TANH, 0, 0, 0, value, &shrunk));
    return emit_binary(lowering, BINARY_SUB, value, shrunk, out);
}

/* x - clip(x, -threshold, threshold) */
static status soft_shrink(struct lowering *lowering, const double *argument, int value, int *out) {
    int clipped;
    STATUS_TRY(apply(lowering, ACTIVATION_CLIP, -argument[0], argument[0], 0, value, &clipped));
    return emit_binary(lowering, BINARY_SUB, value, clipped, out);
}

/* What of x is above the threshold, less what of -x is. */
static status hard_shrink(struct lowering *lowering, const double *argument, int value, int *out) {
    int high, low;
    STATUS_TRY(apply(lowering, ACTIVATION_RELU, 0, INFINITY, argument[0], value, &high));
    STATUS_TRY(emit_affine(lowering, value, -1, 0, &low));
    STATUS_TRY(apply(lowering, ACTIVATION_RELU, 0, INFINITY, argument[0], low, &low));
    return emit_binary(lowering, BINARY_SUB, high, low, out);
}

/* clip((x + 1) / 2, 0, 1)^2 + max(x - 1, 0) */
static status sparse_plus(struct lowering *lowering, const double *argument, int value, int *out) {
    int square, over;
    (void)argument;
    STATUS_TRY(apply(lowering, ACTIVATION_HARD_SIGMOID, 0.5, 0.5, 0, value, &square));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, square, square, &square));
    STATUS_TRY(emit_affine(lowering, value, 1, -1, &over));
    STATUS_TRY(apply(lowering, ACTIVATION_RELU, 0, INFINITY, 0, over, &over));
    return emit_binary(lowering, BINARY_ADD, square, over, out);
}

/* (x + sqrt(x^2 + b)) / 2; the root of z is z / sqrt(z) */
static status squareplus(struct lowering *lowering, const double *argument, int value, int *out) {
    int square, root;
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, value, value, &square));
    STATUS_TRY(emit_affine(lowering, square, 1, (float)argument[0], &square));
    STATUS_TRY(apply(lowering, ACTIVATION_RSQRT, 0, 0, 1e-30, square, &root));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, square, root, &root));
    STATUS_TRY(emit_binary(lowering, BINARY_ADD, value, root, &root));
    return emit_affine(lowering, root, 0.5f, 0, out);
}

static status softmax(struct lowering *lowering, const double *argument, int value, int *out) {
    (void)argument;
    return emit_softmax(lowering, value, false, out);
}

/* x - max - log(sum(exp(x - max))) */
static status log_softmax(struct lowering *lowering, const double *argument, int value, int *out) {
    int last = lowering_shape(lowering, value)->rank - 1, sum;
    (void)argument;
    STATUS_TRY(emit_reduce(lowering, REDUCE_MAX, value, last, true, &sum));
    STATUS_TRY(emit_binary(lowering, BINARY_SUB, value, sum, &value));
    STATUS_TRY(apply(lowering, ACTIVATION_EXPONENTIAL, 0, 0, 0, value, &sum));
    STATUS_TRY(emit_reduce(lowering, REDUCE_SUM, sum, last, true, &sum));
    STATUS_TRY(apply(lowering, ACTIVATION_LOG, 0, 0, 0, sum, &sum));
    return emit_binary(lowering, BINARY_SUB, value, sum, out);
}

/* ---- names ---- */

/* One operation, whose alpha, beta and gamma are numbers or arguments; or a composition. */
static const struct named_activation {
    const char *name;
    enum activation kind;
    float number[3];
    int from[3]; /* the argument that a number is, plus 1; 0: the one given here */
    int narguments;
    double initial[MAX_ARGUMENTS];
    composition *compose;
} activations[] = {
    {.name = "linear", .kind = ACTIVATION_LINEAR},
    /* negative slope, maximum, threshold */
    {.name = "relu",
     .kind = ACTIVATION_RELU,
     .from = {1, 2, 3},
     .narguments = 3,
     .initial = {0, INFINITY, 0}},
    {.name = "relu6", .kind = ACTIVATION_RELU, .number = {0, 6, 0}},
    /* the layer's default is 0.3 */
    {.name = "leaky_relu",
     .kind = ACTIVATION_RELU,
     .number = {0, INFINITY, 0},
     .from = {1},
     .narguments = 1,
     .initial = {0.2}},
    {.name = "sigmoid", .kind = ACTIVATION_SIGMOID},
    {.name = "tanh", .kind = ACTIVATION_TANH},
    {.name = "softmax", .compose = softmax},
    {.name = "softmax_v2", .compose = softmax}, /* so written by some TensorFlow 2.x */
    {.name = "log_softmax", .compose = log_softmax},
    {.name = "softplus", .kind = ACTIVATION_SOFTPLUS},
    {.name = "softsign", .kind = ACTIVATION_SOFTSIGN},
    {.name = "elu", .kind = ACTIVATION_ELU, .from = {1}, .narguments = 1, .initial = {1}},
    {.name = "celu", .compose = celu, .narguments = 1, .initial = {1}},
    {.name = "selu", .kind = ACTIVATION_SELU},
    {.name = "exponential", .kind = ACTIVATION_EXPONENTIAL},
    {.name = "silu", .kind = ACTIVATION_SILU},
    {.name = "swish", .kind = ACTIVATION_SILU},
    {.name = "gelu", .kind = ACTIVATION_GELU, .narguments = 1}, /* approximate: see resolve() */
    {.name = "mish", .kind = ACTIVATION_MISH},
    {.name = "hard_sigmoid", .kind = ACTIVATION_HARD_SIGMOID, .number = {1.0f / 6, 0.5f, 0}}, /* likewise */
    {.name = "hard_silu", .kind = ACTIVATION_HARD_SILU},
    {.name = "hard_swish", .kind = ACTIVATION_HARD_SILU},
    {.name = "hard_tanh", .kind = ACTIVATION_CLIP, .number = {-1, 1, 0}},
    {.name = "hard_shrink", .compose = hard_shrink, .narguments = 1, .initial = {0.5}},
    {.name = "soft_shrink", .compose = soft_shrink, .narguments = 1, .initial = {0.5}},
    {.name = "tanh_shrink", .compose = tanh_shrink},
    {.name = "log_sigmoid", .compose = log_sigmoid},
    {.name = "sparse_sigmoid", .kind = ACTIVATION_HARD_SIGMOID, .number = {0.5f, 0.5f, 0}},
    {.name = "sparse_plus", .compose = sparse_plus},
    {.name = "squareplus", .compose = squareplus, .narguments = 1, .initial = {4}},
};

/* The function that `text` names and its arguments; NULL if there is none such. */
static const struct named_activation *find(const char *text, double *argument) {
    size_t length = strcspn(text, "(");
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        const struct named_activation *a = &activations[i];
        const char *at = text + length;
        if (strlen(a->name) != length || strncmp(a->name, text, length) != 0) continue;
        memcpy(argument, a->initial, sizeof a->initial);
        if (!*at) return a;
        for (int n = 0; n < a->narguments; n++) {
            char *end;
            argument[n] = strtod(at + 1, &end);
            if (end == at + 1 || isnan(argument[n])) return NULL;
            if (!strcmp(end, ")")) return a;
            if (*end != ',') return NULL;
            at = end;
        }
        return NULL;
    }
    return NULL;
}

static struct activation_function resolve(const struct named_activation *a, const double *argument,
                                          int keras_version) {
    float number[3];
    for (int i = 0; i < 3; i++) number[i] = a->from[i] ? (float)argument[a->from[i] - 1] : a->number[i];
    struct activation_function function = {
        .kind = a->kind, .alpha = number[0], .beta = number[1], .gamma = number[2]};
    if (!strcmp(a->name, "hard_sigmoid") && keras_version < 3) function.alpha = 0.2f;
    if (!strcmp(a->name, "gelu") && argument[0] != 0) function.kind = ACTIVATION_GELU_TANH;
    return function;
}

status activation_check(const char *name) {
    double argument[MAX_ARGUMENTS];
    if (find(name, argument)) return SUCCESS;
    return status_fail(STATUS_UNSUPPORTED, "activation \"%s\" is not supported", name);
}

bool activation_is_elementwise(const char *name) {
    double argument[MAX_ARGUMENTS];
    const struct named_activation *a = find(name, argument);
    return a && a->compose != softmax && a->compose != log_softmax;
}

status activation_find(const char *name, int keras_version, struct activation_function *function) {
    double argument[MAX_ARGUMENTS];
    const struct named_activation *a = find(name, argument);
    if (!a || a->compose)
        return status_fail(STATUS_UNSUPPORTED, "activation \"%s\" is not supported here", name);
    *function = resolve(a, argument, keras_version);
    return SUCCESS;
}

status lowering_add_activation(struct lowering *lowering, const char *name, int value, int *out) {
    double argument[MAX_ARGUMENTS];
    const struct named_activation *a = find(name, argument);
    if (!a) return activation_check(name);
    if (a->compose) return a->compose(lowering, argument, value, out);
    struct activation_function function = resolve(a, argument, lowering->keras_version);
    *out = value;
    return function.kind == ACTIVATION_LINEAR ? SUCCESS : emit_activation(lowering, &function, value, out);
}

/* Activation functions in C. */
#include "io/c_source/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static bool same(const struct activation_function *a, const struct activation_function *b) {
    return a->kind == b->kind && a->alpha == b->alpha && a->beta == b->beta && a->gamma == b->gamma;
}

/* Its number among the functions of the text, which gets it if it is new; -1: no memory. */
static int number_of(struct c_text *t, const struct activation_function *f) {
    for (int i = 0; i < t->nfunctions; i++)
        if (same(&t->function[i], f)) return i;
    struct activation_function *grown =
        realloc(t->function, ((size_t)t->nfunctions + 1) * sizeof *t->function);
    if (!grown) {
        if (!t->error) t->error = status_no_memory("a program", sizeof *grown);
        return -1;
    }
    t->function = grown;
    t->function[t->nfunctions] = *f;
    return t->nfunctions++;
}

const char *c_apply(struct c_text *t, const struct activation_function *f, const char *x, char *buffer,
                    size_t room) {
    if (!f || f->kind == ACTIVATION_LINEAR) snprintf(buffer, room, "%s", x);
    else snprintf(buffer, room, "%s_%d(%s)", activation_name(f->kind), number_of(t, f), x);
    return buffer;
}

/* x <= gamma ? alpha * (x - gamma) : x, at most beta */
static void print_relu(const struct activation_function *f, FILE *out) {
    char alpha[40], beta[40], gamma[40];
    c_number(f->alpha, alpha);
    c_number(f->beta, beta);
    c_number(f->gamma, gamma);
    if (f->alpha == 0) fprintf(out, "x = x > %s ? x : 0.0f;\n", gamma);
    else if (f->gamma == 0) fprintf(out, "x = x > 0.0f ? x : %s * x;\n", alpha);
    else fprintf(out, "x = x > %s ? x : %s * (x - %s);\n", gamma, alpha, gamma);
    if (isinf(f->beta)) fprintf(out, "    return x;\n");
    else fprintf(out, "    return x < %s ? x : %s;\n", beta, beta);
}

static void print_body(const struct activation_function *f, FILE *out) {
    char a[40], b[40], c[40];
    c_number(f->alpha, a);
    c_number(f->beta, b);
    c_number(f->gamma, c);
    switch (f->kind) {
    case ACTIVATION_LINEAR:
        fprintf(out, "return x;\n");
        break;
    case ACTIVATION_RELU:
        print_relu(f, out);
        break;
    case ACTIVATION_SIGMOID:
        fprintf(out, "return 1.0f / (1.0f + expf(-x));\n");
        break;
    case ACTIVATION_TANH:
        fprintf(out, "return tanhf(x);\n");
        break;
    case ACTIVATION_SOFTPLUS:
        fprintf(out, "return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));\n");
        break;
    case ACTIVATION_SOFTSIGN:
        fprintf(out, "return x / (1.0f + fabsf(x));\n");
        break;
    case ACTIVATION_ELU:
        fprintf(out, "return x > 0.0f ? x : %s * expm1f(x);\n", a);
        break;
    case ACTIVATION_SELU:
        fprintf(out, "return 1.05070099f * (x > 0.0f ? x : 1.67326324f * expm1f(x));\n");
        break;
    case ACTIVATION_EXPONENTIAL:
        fprintf(out, "return expf(x);\n");
        break;
    case ACTIVATION_SILU:
        fprintf(out, "return x / (1.0f + expf(-x));\n");
        break;
    case ACTIVATION_GELU:
        fprintf(out, "return 0.5f * x * (1.0f + erff(0.707106781f * x));\n");
        break;
    case ACTIVATION_GELU_TANH:
        fprintf(out, "return 0.5f * x * (1.0f + tanhf(0.797884561f * (x + 0.044715f * x * x * x)));\n");
        break;
    case ACTIVATION_HARD_SIGMOID:
        fprintf(out, "x = %s * x + %s;\n    return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;\n", a, b);
        break;
    case ACTIVATION_HARD_SILU:
        fprintf(out, "return x <= -3.0f ? 0.0f : x >= 3.0f ? x : x * (x / 6.0f + 0.5f);\n");
        break;
    case ACTIVATION_MISH:
        fprintf(out, "return x * tanhf((x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x))));\n");
        break;
    case ACTIVATION_CLIP:
        fprintf(out, "return x < %s ? %s : x > %s ? %s : x;\n", a, a, b, b);
        break;
    case ACTIVATION_LOG:
        fprintf(out, "return logf(x);\n");
        break;
    case ACTIVATION_RSQRT:
        fprintf(out, "x += %s;\n    return 1.0f / sqrtf(x < %s ? %s : x);\n", b, c, c);
        break;
    case ACTIVATION_NOT_EQUAL:
        fprintf(out, "return x != %s ? 1.0f : 0.0f;\n", c);
        break;
    }
}

void c_add_scaled(struct c_text *t, const char *to, const char *factor, const char *from, int64_t n) {
    t->adds_scaled = true;
    c_line(t, "add_scaled(%s, %s, %s, %" PRId64 ");", to, factor, from, n);
}

void c_add_products(struct c_text *t, const char *to, const char *x, const char *from, int64_t n) {
    t->adds_products = true;
    c_line(t, "add_products(%s, %s, %s, %" PRId64 ");", to, x, from, n);
}

void c_functions_print(const struct c_text *t, FILE *out) {
    if (t->adds_scaled)
        fprintf(out, "static inline void add_scaled(float *restrict to, float factor, const float *restrict "
                     "from, int n) {\n"
                     "    for (int i = 0; i < n; i++) to[i] += factor * from[i];\n}\n\n");
    if (t->adds_products)
        fprintf(out, "static inline void add_products(float *restrict to, const float *restrict x, const "
                     "float *restrict from,\n"
                     "                                int n) {\n"
                     "    for (int i = 0; i < n; i++) to[i] += x[i] * from[i];\n}\n\n");
    for (int i = 0; i < t->nfunctions; i++) {
        fprintf(out, "static inline float %s_%d(float x) {\n    ", activation_name(t->function[i].kind), i);
        print_body(&t->function[i], out);
        fprintf(out, "}\n\n");
    }
}

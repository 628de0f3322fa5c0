/* Operations on single elements, and on channels: in the layout that is there. */
#include "io/onnx/emit.h"

#include <math.h>
#include <stdio.h>

/* ---- functions ---- */

/* x <= gamma ? alpha * (x - gamma) : x, at most beta */
static const char *relu(struct onnx_graph *g, const struct activation_function *f, const char *x) {
    if (f->alpha == 0 && f->gamma == 0 && isinf(f->beta))
        return onnx_graph_node(g, "Relu", ONNX_IN(x), ONNX_PLAIN);
    if (f->alpha == 0 && f->gamma == 0)
        return onnx_graph_node(g, "Clip", ONNX_IN(x, onnx_graph_number(g, 0), onnx_graph_number(g, f->beta)),
                               ONNX_PLAIN);
    const char *y;
    if (f->gamma == 0) {
        y = onnx_graph_node(g, "LeakyRelu", ONNX_IN(x), ONNX_WITH(ONNX_FLOAT("alpha", f->alpha)));
    } else if (f->alpha == 0) {
        y = onnx_graph_node(g, "ThresholdedRelu", ONNX_IN(x), ONNX_WITH(ONNX_FLOAT("alpha", f->gamma)));
    } else {
        const char *threshold = onnx_graph_number(g, f->gamma);
        const char *above = onnx_graph_node(g, "Greater", ONNX_IN(x, threshold), ONNX_PLAIN);
        const char *below = onnx_graph_node(g, "Sub", ONNX_IN(x, threshold), ONNX_PLAIN);
        below = onnx_graph_node(g, "Mul", ONNX_IN(below, onnx_graph_number(g, f->alpha)), ONNX_PLAIN);
        y = onnx_graph_node(g, "Where", ONNX_IN(above, x, below), ONNX_PLAIN);
    }
    if (isinf(f->beta)) return y;
    return onnx_graph_node(g, "Clip", ONNX_IN(y, "", onnx_graph_number(g, f->beta)), ONNX_PLAIN);
}

static const char *multiply(struct onnx_graph *g, const char *a, const char *b) {
    return onnx_graph_node(g, "Mul", ONNX_IN(a, b), ONNX_PLAIN);
}

static const char *add(struct onnx_graph *g, const char *a, const char *b) {
    return onnx_graph_node(g, "Add", ONNX_IN(a, b), ONNX_PLAIN);
}

/* x * (1 + erf(x / sqrt(2))) / 2, in the form that ONNX Runtime knows as one operation. */
static const char *gelu(struct onnx_graph *g, const char *x) {
    const char *inner = onnx_graph_node(g, "Div", ONNX_IN(x, onnx_graph_number(g, 1.41421356f)), ONNX_PLAIN);
    inner = onnx_graph_node(g, "Erf", ONNX_IN(inner), ONNX_PLAIN);
    inner = add(g, inner, onnx_graph_number(g, 1));
    return multiply(g, multiply(g, x, inner), onnx_graph_number(g, 0.5f));
}

/* x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2 */
static const char *gelu_tanh(struct onnx_graph *g, const char *x) {
    const char *cube = onnx_graph_node(g, "Pow", ONNX_IN(x, onnx_graph_number(g, 3)), ONNX_PLAIN);
    const char *inner = add(g, x, multiply(g, cube, onnx_graph_number(g, 0.044715f)));
    inner = multiply(g, inner, onnx_graph_number(g, 0.79788456f));
    inner = onnx_graph_node(g, "Tanh", ONNX_IN(inner), ONNX_PLAIN);
    inner = add(g, inner, onnx_graph_number(g, 1));
    return multiply(g, multiply(g, x, inner), onnx_graph_number(g, 0.5f));
}

/* 1 / sqrt(max(x + beta, gamma)) */
static const char *rsqrt(struct onnx_graph *g, const struct activation_function *f, const char *x) {
    if (f->beta != 0) x = add(g, x, onnx_graph_number(g, f->beta));
    x = onnx_graph_node(g, "Max", ONNX_IN(x, onnx_graph_number(g, f->gamma)), ONNX_PLAIN);
    x = onnx_graph_node(g, "Sqrt", ONNX_IN(x), ONNX_PLAIN);
    return onnx_graph_node(g, "Reciprocal", ONNX_IN(x), ONNX_PLAIN);
}

static const char *not_equal(struct onnx_graph *g, const struct activation_function *f, const char *x) {
    x = onnx_graph_node(g, "Equal", ONNX_IN(x, onnx_graph_number(g, f->gamma)), ONNX_PLAIN);
    x = onnx_graph_node(g, "Not", ONNX_IN(x), ONNX_PLAIN);
    return onnx_graph_node(g, "Cast", ONNX_IN(x), ONNX_WITH(ONNX_INT("to", 1)));
}

const char *onnx_function(struct onnx_graph *g, const struct activation_function *f, const char *x) {
    switch (f->kind) {
    case ACTIVATION_LINEAR:
        return x;
    case ACTIVATION_RELU:
        return relu(g, f, x);
    case ACTIVATION_SIGMOID:
        return onnx_graph_node(g, "Sigmoid", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_TANH:
        return onnx_graph_node(g, "Tanh", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_SOFTPLUS:
        return onnx_graph_node(g, "Softplus", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_SOFTSIGN:
        return onnx_graph_node(g, "Softsign", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_ELU:
        return onnx_graph_node(g, "Elu", ONNX_IN(x), ONNX_WITH(ONNX_FLOAT("alpha", f->alpha)));
    case ACTIVATION_SELU:
        return onnx_graph_node(g, "Selu", ONNX_IN(x),
                               ONNX_WITH(ONNX_FLOAT("alpha", 1.67326324f), ONNX_FLOAT("gamma", 1.05070099f)));
    case ACTIVATION_EXPONENTIAL:
        return onnx_graph_node(g, "Exp", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_SILU:
        return multiply(g, x, onnx_graph_node(g, "Sigmoid", ONNX_IN(x), ONNX_PLAIN));
    case ACTIVATION_GELU:
        return gelu(g, x);
    case ACTIVATION_GELU_TANH:
        return gelu_tanh(g, x);
    case ACTIVATION_HARD_SIGMOID:
        return onnx_graph_node(g, "HardSigmoid", ONNX_IN(x),
                               ONNX_WITH(ONNX_FLOAT("alpha", f->alpha), ONNX_FLOAT("beta", f->beta)));
    case ACTIVATION_HARD_SILU:
        return onnx_graph_node(g, "HardSwish", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_MISH: {
        const char *inner = onnx_graph_node(g, "Softplus", ONNX_IN(x), ONNX_PLAIN);
        return multiply(g, x, onnx_graph_node(g, "Tanh", ONNX_IN(inner), ONNX_PLAIN));
    }
    case ACTIVATION_CLIP:
        return onnx_graph_node(
            g, "Clip", ONNX_IN(x, onnx_graph_number(g, f->alpha), onnx_graph_number(g, f->beta)), ONNX_PLAIN);
    case ACTIVATION_LOG:
        return onnx_graph_node(g, "Log", ONNX_IN(x), ONNX_PLAIN);
    case ACTIVATION_RSQRT:
        return rsqrt(g, f, x);
    case ACTIVATION_NOT_EQUAL:
        return not_equal(g, f, x);
    }
    return x;
}

/* ---- operations ---- */

status onnx_emit_activation(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    onnx_set(e, op->out, layout, onnx_function(e->onnx, &op->u.act, onnx_in(e, op->in[0], layout)));
    return SUCCESS;
}

status onnx_emit_identity(struct onnx_export *e, const struct op *op) {
    e->value[op->out] = e->value[op->in[0]];
    return SUCCESS;
}

status onnx_emit_binary(struct onnx_export *e, const struct op *op) {
    static const char *const names[] = {[BINARY_ADD] = "Add", [BINARY_SUB] = "Sub", [BINARY_MUL] = "Mul",
                                        [BINARY_DIV] = "Div", [BINARY_MAX] = "Max", [BINARY_MIN] = "Min"};
    const bool one_rank = onnx_shape(e, op->in[0])->rank == onnx_shape(e, op->in[1])->rank;
    const enum layout layout = one_rank ? onnx_common_layout(e, op) : LAYOUT_LAST;
    const char *a = onnx_in(e, op->in[0], layout), *b = onnx_in(e, op->in[1], layout);
    onnx_set(e, op->out, layout,
             onnx_graph_node(e->onnx, names[op->u.binary.kind], ONNX_IN(a, b), ONNX_PLAIN));
    return SUCCESS;
}

static bool all_are(const float *x, int n, float value) {
    for (int i = 0; i < n; i++)
        if (x[i] != value) return false;
    return true;
}

/* x * scale + offset; each a number, or one for each channel. What changes nothing is left out. */
static const char *scale_and_offset(struct onnx_export *e, const char *x, const struct shape *shape,
                                    enum layout layout, int n, const float *scale, const float *offset) {
    const struct shape each = n > 1 ? onnx_channel_shape(shape->rank, layout, n) : (struct shape){.rank = 0};
    char name[300];
    if (!all_are(scale, n, 1)) {
        snprintf(name, sizeof name, "%s/scale", x);
        x = multiply(e->onnx, x, onnx_graph_floats(e->onnx, name, &each, scale, false));
    }
    if (!all_are(offset, n, 0)) {
        snprintf(name, sizeof name, "%s/offset", x);
        x = add(e->onnx, x, onnx_graph_floats(e->onnx, name, &each, offset, false));
    }
    return x;
}

status onnx_emit_affine(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    onnx_set(e, op->out, layout,
             scale_and_offset(e, onnx_in(e, op->in[0], layout), onnx_shape(e, op->in[0]), layout,
                              op->u.affine.n, op->u.affine.scale, op->u.affine.offset));
    return SUCCESS;
}

status onnx_emit_scale(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    const struct shape *shape = onnx_shape(e, op->in[0]);
    const struct shape each = onnx_channel_shape(shape->rank, layout, shape->dim[shape->rank - 1]);
    const char *x = onnx_in(e, op->in[0], layout);
    if (op->param[0] >= 0) x = multiply(e->onnx, x, onnx_param(e, op->param[0], &each));
    if (op->param[1] >= 0) x = add(e->onnx, x, onnx_param(e, op->param[1], &each));
    onnx_set(e, op->out, layout, x);
    return SUCCESS;
}

status onnx_emit_prelu(struct onnx_export *e, const struct op *op) {
    const enum layout layout = onnx_common_layout(e, op);
    const struct shape *alpha = onnx_param_shape(e, op->param[0]);
    const char *x = onnx_in(e, op->in[0], layout), *slope;
    int axis[SHAPE_MAX_RANK];
    struct shape moved = *alpha;
    for (int i = 0; i < alpha->rank; i++) {
        axis[i] = i ? i - 1 : alpha->rank - 1;
        moved.dim[i] = alpha->dim[axis[i]];
    }
    if (layout == LAYOUT_FIRST && alpha->rank > 1) slope = onnx_param_moved(e, op->param[0], axis, &moved);
    else slope = onnx_param(e, op->param[0], NULL);
    onnx_set(e, op->out, layout, onnx_graph_node(e->onnx, "PRelu", ONNX_IN(x, slope), ONNX_PLAIN));
    return SUCCESS;
}

/* ---- batch normalization ---- */

static const char *param_or(struct onnx_export *e, int param, int64_t channels, float value) {
    if (param >= 0) return onnx_param(e, param, NULL);
    float *same = onnx_graph_memory(e->onnx, channels);
    for (int64_t i = 0; same && i < channels; i++) same[i] = value;
    return onnx_graph_floats(e->onnx, value != 0 ? "ones" : "zeros", &SHAPE(channels), same, true);
}

/* Channels last: as a product and a sum. */
static const char *norm_as_affine(struct onnx_export *e, const struct op *op, const char *x,
                                  int64_t channels) {
    float *scale = onnx_graph_memory(e->onnx, channels), *offset = onnx_graph_memory(e->onnx, channels);
    if (!scale || !offset) return "";
    for (int64_t i = 0; i < channels; i++) {
        const double variance = (double)onnx_param_values(e, op->param[3])[i];
        const double gamma = op->param[0] >= 0 ? (double)onnx_param_values(e, op->param[0])[i] : 1;
        const double beta = op->param[1] >= 0 ? (double)onnx_param_values(e, op->param[1])[i] : 0;
        const double s = gamma / sqrt(variance + (double)op->u.norm.epsilon);
        scale[i] = (float)s;
        offset[i] = (float)(beta - s * (double)onnx_param_values(e, op->param[2])[i]);
    }
    return scale_and_offset(e, x, onnx_shape(e, op->in[0]), LAYOUT_LAST, (int)channels, scale, offset);
}

status onnx_emit_batch_norm(struct onnx_export *e, const struct op *op) {
    const struct shape *shape = onnx_shape(e, op->in[0]);
    const enum layout layout = shape->rank < 3 ? LAYOUT_FIRST : onnx_common_layout(e, op);
    const int64_t channels = shape->dim[shape->rank - 1];
    const char *x = onnx_in(e, op->in[0], layout);
    if (layout == LAYOUT_LAST) x = norm_as_affine(e, op, x, channels);
    else
        x = onnx_graph_node(e->onnx, "BatchNormalization",
                            ONNX_IN(x, param_or(e, op->param[0], channels, 1),
                                    param_or(e, op->param[1], channels, 0), onnx_param(e, op->param[2], NULL),
                                    onnx_param(e, op->param[3], NULL)),
                            ONNX_WITH(ONNX_FLOAT("epsilon", op->u.norm.epsilon)));
    onnx_set(e, op->out, layout, x);
    return SUCCESS;
}

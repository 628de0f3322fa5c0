/* Operations on single elements. */
#include "io/c_source/emit.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

status c_emit_activation(struct c_source *s, struct c_step *step) {
    char result[80];
    c_line(s->text, "for (int i = 0; i < %" PRId64 "; i++) y[i] = %s;", c_count(s->ops, step->out),
           c_apply(s->text, &step->op->u.act, "x[i]", result, sizeof result));
    return SUCCESS;
}

status c_emit_binary(struct c_source *s, struct c_step *step) {
    static const char *const forms[] = {
        [BINARY_ADD] = "x[%s] + z[%s]",       [BINARY_SUB] = "x[%s] - z[%s]",
        [BINARY_MUL] = "x[%s] * z[%s]",       [BINARY_DIV] = "x[%s] / z[%s]",
        [BINARY_MAX] = "fmaxf(x[%s], z[%s])", [BINARY_MIN] = "fminf(x[%s], z[%s])"};
    const struct shape out = c_sample(c_shape(s, step->out));
    struct c_nest n = {.rank = out.rank, .narrays = 3};
    char at[3][256], value[600], result[700];
    for (int i = 0; i < out.rank; i++) n.dim[i] = out.dim[i];
    for (int k = 0; k < 2; k++) {
        const struct shape in = c_sample(c_shape(s, step->op->in[k]));
        c_broadcast(&in, &out, n.stride[k]);
    }
    c_broadcast(&out, &out, n.stride[2]);
    c_nest_simplify(&n);
    for (int k = 0; k < 3; k++) c_nest_at(&n, k, 'i', at[k]);
    snprintf(value, sizeof value, forms[step->op->u.binary.kind], at[0], at[1]);
    c_nest_open(s->text, &n, 'i');
    c_line(s->text, "y[%s] = %s;", at[2], c_result(s, step, value, result, sizeof result));
    c_nest_close(s->text, &n);
    return SUCCESS;
}

/* x * scale + offset for each channel; NULL: without. */
static void print_channels(struct c_source *s, struct c_step *step, const char *scale, const char *offset) {
    const struct shape *shape = c_shape(s, step->op->in[0]);
    const int64_t channels = shape->dim[shape->rank - 1];
    char value[300], result[400];
    snprintf(value, sizeof value, "x[i * %" PRId64 " + c]%s%s%s%s%s%s", channels, scale ? " * " : "",
             scale ? scale : "", scale ? "[c]" : "", offset ? " + " : "", offset ? offset : "",
             offset ? "[c]" : "");
    c_line(s->text, "for (int i = 0; i < %" PRId64 "; i++) {", c_count(s->ops, step->out) / channels);
    c_line(s->text, "for (int c = 0; c < %" PRId64 "; c++) y[i * %" PRId64 " + c] = %s;", channels, channels,
           c_result(s, step, value, result, sizeof result));
    c_line(s->text, "}");
}

static void print_number(struct c_source *s, struct c_step *step) {
    const struct op *op = step->op;
    char scale[40], offset[40], value[200], result[300];
    snprintf(value, sizeof value, "x[i] * %s + %s", c_number(op->u.affine.scale[0], scale),
             c_number(op->u.affine.offset[0], offset));
    c_line(s->text, "for (int i = 0; i < %" PRId64 "; i++) y[i] = %s;", c_count(s->ops, step->out),
           c_result(s, step, value, result, sizeof result));
}

/* A batch norm as scale and offset. */
static void print_norm(struct c_source *s, struct c_step *step) {
    const struct op *op = step->op;
    const int64_t channels = s->ops->param[op->param[3]].count;
    float *scale = malloc((size_t)channels * sizeof *scale),
          *offset = malloc((size_t)channels * sizeof *offset);
    for (int64_t i = 0; scale && offset && i < channels; i++) {
        const double gamma = op->param[0] >= 0 ? (double)params_at(s->params, op->param[0])[i] : 1;
        const double beta = op->param[1] >= 0 ? (double)params_at(s->params, op->param[1])[i] : 0;
        const double variance = (double)params_at(s->params, op->param[3])[i];
        const double factor = gamma / sqrt(variance + (double)op->u.norm.epsilon);
        scale[i] = (float)factor;
        offset[i] = (float)(beta - factor * (double)params_at(s->params, op->param[2])[i]);
    }
    const char *name = c_constant(s->text, c_layer(s, step), "scale", &SHAPE(channels), scale, scale);
    print_channels(s, step, name,
                   c_constant(s->text, c_layer(s, step), "offset", &SHAPE(channels), offset, offset));
}

status c_emit_channels(struct c_source *s, struct c_step *step) {
    const struct op *op = step->op;
    if (op->kind == OP_BATCH_NORM) {
        print_norm(s, step);
    } else if (op->kind == OP_SCALE) {
        print_channels(s, step, c_param(s, step, 0), c_param(s, step, 1));
    } else if (op->u.affine.n == 1) {
        print_number(s, step);
    } else {
        const struct shape shape = {.rank = 1, .dim = {op->u.affine.n}};
        const char *scale = c_constant(s->text, c_layer(s, step), "scale", &shape, op->u.affine.scale, NULL);
        print_channels(s, step, scale,
                       c_constant(s->text, c_layer(s, step), "offset", &shape, op->u.affine.offset, NULL));
    }
    return SUCCESS;
}

status c_emit_prelu(struct c_source *s, struct c_step *step) {
    const struct shape out = c_sample(c_shape(s, step->out));
    struct c_nest n = {.rank = out.rank, .narrays = 2};
    char x[256], alpha[256];
    for (int i = 0; i < out.rank; i++) n.dim[i] = out.dim[i];
    c_broadcast(&out, &out, n.stride[0]);
    c_broadcast(&s->ops->param[step->op->param[0]].shape, &out, n.stride[1]);
    c_nest_simplify(&n);
    c_nest_at(&n, 0, 'i', x);
    c_nest_at(&n, 1, 'i', alpha);
    const char *name = c_param(s, step, 0);
    c_nest_open(s->text, &n, 'i');
    c_line(s->text, "y[%s] = x[%s] > 0.0f ? x[%s] : %s[%s] * x[%s];", x, x, x, name, alpha, x);
    c_nest_close(s->text, &n);
    return SUCCESS;
}

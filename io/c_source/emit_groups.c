/* Operations over groups of elements: sums, softmax, layer normalization. */
#include "io/c_source/emit.h"

#include <inttypes.h>

status c_emit_reduce(struct c_source *s, struct c_step *step) {
    const struct op *op = step->op;
    const struct shape in = c_sample(c_shape(s, op->in[0]));
    const bool max = op->u.reduce.kind == REDUCE_MAX;
    struct c_nest n = {.rank = in.rank, .narrays = 2};
    int64_t left = 1, group = 1;
    char x[256], y[256], value[80], result[160], number[40];
    c_broadcast(&in, &in, n.stride[0]);
    for (int i = in.rank - 1; i >= 0; i--) {
        n.dim[i] = in.dim[i];
        const bool reduced = op->u.reduce.axes >> (i + 1) & 1;
        n.stride[1][i] = reduced ? 0 : left;
        if (reduced) group *= in.dim[i];
        else left *= in.dim[i];
    }
    for (int i = 0; i < in.rank; i++)
        if (in.dim[i] == 1) n.stride[0][i] = 0;
    c_nest_simplify(&n);
    c_nest_at(&n, 0, 'i', x);
    c_nest_at(&n, 1, 'i', y);
    c_line(s->text, "for (int i = 0; i < %" PRId64 "; i++) y[i] = %s;", left, max ? "-INFINITY" : "0.0f");
    c_nest_open(s->text, &n, 'i');
    if (max) c_line(s->text, "y[%s] = x[%s] > y[%s] ? x[%s] : y[%s];", y, x, y, x, y);
    else c_line(s->text, "y[%s] += x[%s];", y, x);
    c_nest_close(s->text, &n);
    const bool mean = op->u.reduce.kind == REDUCE_MEAN;
    snprintf(value, sizeof value, mean ? "y[i] * %s" : "y[i]", c_number(1 / (float)group, number));
    if (mean || step->has_function)
        c_line(s->text, "for (int i = 0; i < %" PRId64 "; i++) y[i] = %s;", left,
               c_result(s, step, value, result, sizeof result));
    return SUCCESS;
}

/* Causal: row i sees columns 0 to i. */
status c_emit_softmax(struct c_source *s, struct c_step *step) {
    const struct shape *shape = c_shape(s, step->out);
    const int axis = step->op->u.axis.axis;
    const bool causal = step->op->u.axis.causal;
    int64_t outer = 1, n = shape->dim[axis], inner = 1;
    struct c_text *t = s->text;
    for (int i = 1; i < axis; i++) outer *= shape->dim[i];
    for (int i = axis + 1; i < shape->rank; i++) inner *= shape->dim[i];
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", outer);
    c_line(t, "for (int j = 0; j < %" PRId64 "; j++) {", inner);
    c_line(t, "const float *u = x + i * %" PRId64 " + j;", n * inner);
    c_line(t, "float *p = y + i * %" PRId64 " + j, most = u[0], sum = 0.0f;", n * inner);
    c_line(t, "int n = %" PRId64 ";", n);
    if (causal) {
        const int64_t rows = shape->dim[shape->rank - 2];
        c_line(t, "if (n > i %% %" PRId64 " + 1) n = i %% %" PRId64 " + 1;", rows, rows);
        c_line(t, "for (int k = n; k < %" PRId64 "; k++) p[k] = 0.0f;", n);
    }
    c_line(t, "for (int k = 1; k < n; k++) most = u[k * %" PRId64 "] > most ? u[k * %" PRId64 "] : most;",
           inner, inner);
    c_line(t, "for (int k = 0; k < n; k++) {");
    c_line(t, "p[k * %" PRId64 "] = expf(u[k * %" PRId64 "] - most);", inner, inner);
    c_line(t, "sum += p[k * %" PRId64 "];", inner);
    c_line(t, "}");
    c_line(t, "for (int k = 0; k < n; k++) p[k * %" PRId64 "] /= sum;", inner);
    c_line(t, "}");
    c_line(t, "}");
    return SUCCESS;
}

/* The axes that are normalized (inner) and the others; array 0 is x and y, array 1 gamma and beta. */
static void split_axes(const struct shape *shape, unsigned axes, struct c_nest *outer, struct c_nest *inner) {
    int64_t stride[SHAPE_MAX_RANK], step = 1;
    *outer = *inner = (struct c_nest){.narrays = 2};
    c_strides(shape, stride);
    for (int i = 1; i < shape->rank; i++) {
        struct c_nest *n = axes >> i & 1 ? inner : outer;
        n->dim[n->rank] = shape->dim[i];
        n->stride[0][n->rank++] = stride[i - 1];
    }
    for (int i = inner->rank - 1; i >= 0; i--) {
        inner->stride[1][i] = step;
        step *= inner->dim[i];
    }
}

status c_emit_layer_norm(struct c_source *s, struct c_step *step) {
    struct c_nest outer, inner;
    struct c_text *t = s->text;
    char at[256], group[256], weight[256], number[40];
    split_axes(c_shape(s, step->out), step->op->u.norm.axes, &outer, &inner);
    int64_t n = 1;
    for (int i = 0; i < inner.rank; i++) n *= inner.dim[i];
    c_nest_simplify(&outer);
    c_nest_simplify(&inner);
    c_nest_at(&outer, 0, 'i', group);
    c_nest_at(&inner, 0, 'j', at);
    c_nest_at(&inner, 1, 'j', weight);
    const char *gamma = c_param(s, step, 0), *beta = c_param(s, step, 1);
    c_nest_open(t, &outer, 'i');
    c_line(t, "const float *u = x + %s;", group);
    c_line(t, "float *p = y + %s, mean = 0.0f, variance = 0.0f;", group);
    c_nest_open(t, &inner, 'j');
    c_line(t, "mean += u[%s];", at);
    c_nest_close(t, &inner);
    c_line(t, "mean /= %" PRId64 ".0f;", n);
    c_nest_open(t, &inner, 'j');
    c_line(t, "variance += (u[%s] - mean) * (u[%s] - mean);", at, at);
    c_nest_close(t, &inner);
    c_line(t, "const float scale = 1.0f / sqrtf(variance / %" PRId64 ".0f + %s);", n,
           c_number(step->op->u.norm.epsilon, number));
    c_nest_open(t, &inner, 'j');
    c_line(t, "p[%s] = (u[%s] - mean) * scale%s%s%s%s%s%s%s%s%s%s;", at, at, gamma ? " * " : "",
           gamma ? gamma : "", gamma ? "[" : "", gamma ? weight : "", gamma ? "]" : "", beta ? " + " : "",
           beta ? beta : "", beta ? "[" : "", beta ? weight : "", beta ? "]" : "");
    c_nest_close(t, &inner);
    c_nest_close(t, &outer);
    return SUCCESS;
}

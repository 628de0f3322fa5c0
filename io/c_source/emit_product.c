/* Products of matrices, embeddings. */
#include "io/c_source/emit.h"

#include <inttypes.h>

status c_emit_dense(struct c_source *s, struct c_step *step) {
    const int64_t *d = s->ops->param[step->op->param[0]].shape.dim;
    const char *kernel = c_kernel(s, step), *bias = c_bias(s, step);
    struct c_text *t = s->text;
    char result[80], text[600];
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", c_count(s->ops, step->op->in[0]) / d[0]);
    c_line(t, "const float *restrict u = x + i * %" PRId64 ";", d[0]);
    c_line(t, "float *restrict p = y + i * %" PRId64 ";", d[1]);
    c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] = %s%s;", d[1], bias ? bias : "0.0f",
           bias ? "[m]" : "");
    c_line(t, "for (int c = 0; c < %" PRId64 "; c++) {", d[0]);
    snprintf(text, sizeof text, "%s + c * %" PRId64, kernel, d[1]);
    c_add_scaled(t, "p", "u[c]", text, d[1]);
    c_line(t, "}");
    if (step->has_function)
        c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] = %s;", d[1],
               c_result(s, step, "p[m]", result, sizeof result));
    c_line(t, "}");
    return SUCCESS;
}

/* Strides of rows and columns of a factor, transposed or not. */
static void factor_strides(const struct shape *shape, bool transposed, int64_t *row, int64_t *column) {
    const int64_t line = shape->dim[shape->rank - 1];
    *row = transposed ? 1 : line;
    *column = transposed ? line : 1;
}

status c_emit_matmul(struct c_source *s, struct c_step *step) {
    const struct shape *a = c_shape(s, step->op->in[0]), *b = c_shape(s, step->op->in[1]);
    const struct shape *out = c_shape(s, step->out);
    const bool ta = step->op->u.matmul.transpose_a, tb = step->op->u.matmul.transpose_b;
    const int64_t m = out->dim[out->rank - 2], n = out->dim[out->rank - 1], k = a->dim[a->rank - 1 - ta];
    int64_t a_row, a_column, b_row, b_column;
    struct c_text *t = s->text;
    char scale[40], factor[128], from[64];
    factor_strides(a, ta, &a_row, &a_column);
    factor_strides(b, tb, &b_row, &b_column);
    c_number(step->op->u.matmul.scale, scale);
    c_line(t, "for (int h = 0; h < %" PRId64 "; h++) {", c_count(s->ops, step->out) / (m * n));
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", m);
    c_line(t, "const float *restrict u = x + h * %" PRId64 " + i * %" PRId64 ";", m * k, a_row);
    c_line(t, "const float *restrict v = z + h * %" PRId64 ";", k * n);
    c_line(t, "float *restrict p = y + (h * %" PRId64 " + i) * %" PRId64 ";", m, n);
    if (tb) {
        c_line(t, "for (int j = 0; j < %" PRId64 "; j++) {", n);
        c_line(t, "float sum = 0.0f;");
        c_line(t, "for (int c = 0; c < %" PRId64 "; c++) sum += u[c * %" PRId64 "] * v[c + j * %" PRId64 "];",
               k, a_column, b_column);
        c_line(t, "p[j] = %s * sum;", scale);
        c_line(t, "}");
    } else {
        c_line(t, "for (int j = 0; j < %" PRId64 "; j++) p[j] = 0.0f;", n);
        c_line(t, "for (int c = 0; c < %" PRId64 "; c++) {", k);
        snprintf(factor, sizeof factor, "%s * u[c * %" PRId64 "]", scale, a_column);
        snprintf(from, sizeof from, "v + c * %" PRId64, b_row);
        c_add_scaled(t, "p", factor, from, n);
        c_line(t, "}");
    }
    c_line(t, "}");
    c_line(t, "}");
    return SUCCESS;
}

/* An id outside the table is taken for 0. */
status c_emit_embedding(struct c_source *s, struct c_step *step) {
    const int64_t *d = s->ops->param[step->op->param[0]].shape.dim;
    const char *table = c_param(s, step, 0);
    struct c_text *t = s->text;
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", c_count(s->ops, step->op->in[0]));
    c_line(t, "const int id = x[i] > -1.0f && x[i] < %" PRId64 ".0f ? (int)x[i] : 0;", d[0]);
    c_line(t, "memcpy(y + i * %" PRId64 ", %s + id * %" PRId64 ", %" PRId64 " * sizeof *y);", d[1], table,
           d[1], d[1]);
    c_line(t, "}");
    return SUCCESS;
}

/* Recurrent layers, as struct recurrent has them. In the workspace: sums of the gates (s), of the recurrent
 * part where it is apart (q), the hidden state (h) and the cell's (c). */
#include "io/c_source/emit.h"

#include <inttypes.h>
#include <string.h>

struct cell_text {
    struct c_source *s;
    const struct recurrent *r;
    int64_t units, width, channels; /* width: of all gates */
    const char *kernel, *recurrent, *bias;
};

static const char *gate(const struct cell_text *k, const char *x, char *buffer) {
    return c_apply(k->s->text, &k->r->gate, x, buffer, 128);
}

static const char *activation(const struct cell_text *k, const char *x, char *buffer) {
    return c_apply(k->s->text, &k->r->activation, x, buffer, 128);
}

static void print_states(const struct cell_text *k, const struct c_step *step) {
    static const char names[] = "hc";
    const int n = k->r->cell == CELL_LSTM ? 2 : 1;
    char from[64];
    for (int i = 0; i < n; i++) {
        if (k->r->states > i)
            c_line(k->s->text, "memcpy(%c, %s, %" PRId64 " * sizeof *%c);", names[i],
                   c_value(k->s, step->op->in[1 + i], from), k->units, names[i]);
        else c_line(k->s->text, "memset(%c, 0, %" PRId64 " * sizeof *%c);", names[i], k->units, names[i]);
    }
}

/* to[m] += from[i] * matrix[i][first + m], m below n */
static void print_product(const struct cell_text *k, const char *to, const char *from, int64_t rows,
                          const char *matrix, int64_t first, int64_t n) {
    char factor[32], row[700];
    c_line(k->s->text, "for (int i = 0; i < %" PRId64 "; i++) {", rows);
    snprintf(factor, sizeof factor, "%s[i]", from);
    snprintf(row, sizeof row, "%s + i * %" PRId64 "%s", matrix, k->width, first ? " + " : "");
    if (first) snprintf(row + strlen(row), 32, "%" PRId64, first);
    c_add_scaled(k->s->text, to, factor, row, n);
    c_line(k->s->text, "}");
}

static void print_start(const struct cell_text *k, const char *to, const char *bias, int64_t offset,
                        int64_t n) {
    if (bias)
        c_line(k->s->text, "memcpy(%s, %s + %" PRId64 ", %" PRId64 " * sizeof *%s);", to, bias, offset, n,
               to);
    else c_line(k->s->text, "memset(%s, 0, %" PRId64 " * sizeof *%s);", to, n, to);
}

static void print_lstm(const struct cell_text *k) {
    const int64_t u = k->units;
    struct c_text *t = k->s->text;
    char text[64], a[128], b[128];
    print_product(k, "s", "h", u, k->recurrent, 0, k->width);
    c_line(t, "for (int m = 0; m < %" PRId64 "; m++) {", u);
    snprintf(text, sizeof text, "s[%" PRId64 " + m]", u);
    c_line(t, "c[m] = %s * c[m];", gate(k, text, a));
    snprintf(text, sizeof text, "s[%" PRId64 " + m]", 2 * u);
    c_line(t, "c[m] += %s * %s;", gate(k, "s[m]", a), activation(k, text, b));
    snprintf(text, sizeof text, "s[%" PRId64 " + m]", 3 * u);
    c_line(t, "h[m] = %s * %s;", gate(k, text, a), activation(k, "c[m]", b));
    c_line(t, "}");
}

static void print_gru_end(const struct cell_text *k, const char *update, const char *candidate) {
    char a[128], b[128];
    c_line(k->s->text, "const float keep = %s, next = %s;", gate(k, update, a), activation(k, candidate, b));
    c_line(k->s->text, "h[m] = keep * h[m] + (1.0f - keep) * next;");
    c_line(k->s->text, "}");
}

static void print_gru(const struct cell_text *k) {
    const int64_t u = k->units;
    struct c_text *t = k->s->text;
    char text[128], a[128];
    if (k->r->reset_after) {
        print_start(k, "q", k->bias, k->width, k->width);
        print_product(k, "q", "h", u, k->recurrent, 0, k->width);
        c_line(t, "for (int m = 0; m < %" PRId64 "; m++) {", u);
        snprintf(text, sizeof text, "s[%" PRId64 " + m] + q[%" PRId64 " + m]", u, u);
        c_line(t, "const float reset = %s;", gate(k, text, a));
        snprintf(text, sizeof text, "s[%" PRId64 " + m] + reset * q[%" PRId64 " + m]", 2 * u, 2 * u);
        print_gru_end(k, "s[m] + q[m]", text);
        return;
    }
    print_product(k, "s", "h", u, k->recurrent, 0, 2 * u);
    snprintf(text, sizeof text, "s[%" PRId64 " + m]", u);
    c_line(t, "for (int m = 0; m < %" PRId64 "; m++) q[m] = %s * h[m];", u, gate(k, text, a));
    c_line(t, "float *candidate = s + %" PRId64 ";", 2 * u);
    print_product(k, "candidate", "q", u, k->recurrent, 2 * u, u);
    c_line(t, "for (int m = 0; m < %" PRId64 "; m++) {", u);
    print_gru_end(k, "s[m]", "candidate[m]");
}

/* A step that the mask leaves out gives the output before and changes no state. */
static void print_masked(const struct cell_text *k, const struct c_step *step, int64_t out) {
    struct c_text *t = k->s->text;
    char mask[64];
    c_line(t, "if ((%s)[t] == 0.0f) {", c_value(k->s, step->op->in[step->op->nin - 1], mask));
    c_line(t, "if (n > 0) memcpy(p, p - %" PRId64 ", %" PRId64 " * sizeof *p);", out, k->units);
    c_line(t, "else memset(p, 0, %" PRId64 " * sizeof *p);", k->units);
    if (k->r->cell_state)
        c_line(t, "memcpy(p + %" PRId64 ", c, %" PRId64 " * sizeof *p);", k->units, k->units);
    c_line(t, "continue;");
    c_line(t, "}");
}

static void print_step(const struct cell_text *k) {
    char a[128];
    print_start(k, "s", k->bias, 0, k->width);
    print_product(k, "s", "u", k->channels, k->kernel, 0, k->width);
    if (k->r->cell == CELL_LSTM) {
        print_lstm(k);
    } else if (k->r->cell == CELL_GRU) {
        print_gru(k);
    } else {
        print_product(k, "s", "h", k->units, k->recurrent, 0, k->width);
        c_line(k->s->text, "for (int m = 0; m < %" PRId64 "; m++) h[m] = %s;", k->units,
               activation(k, "s[m]", a));
    }
}

status c_emit_recurrent(struct c_source *s, struct c_step *step) {
    const struct op *op = step->op;
    const int64_t *in = c_shape(s, op->in[0])->dim, out = c_shape(s, step->out)->dim[2];
    struct cell_text k = {.s = s, .r = &op->u.recurrent};
    struct c_text *t = s->text;
    k.channels = in[2];
    k.units = s->ops->param[op->param[1]].shape.dim[0];
    k.width = s->ops->param[op->param[0]].shape.dim[1];
    k.kernel = c_param(s, step, 0);
    k.recurrent = c_param(s, step, 1);
    k.bias = c_param(s, step, 2);
    c_line(t, "float *s = work + %" PRId64 ", *h = s + %" PRId64 ";", step->scratch_offset, 2 * k.width);
    if (k.r->cell == CELL_GRU) c_line(t, "float *q = s + %" PRId64 ";", k.width);
    if (k.r->cell == CELL_LSTM) c_line(t, "float *c = h + %" PRId64 ";", k.units);
    print_states(&k, step);
    c_line(t, "for (int n = 0; n < %" PRId64 "; n++) {", in[1]);
    if (k.r->backwards) c_line(t, "const int t = %" PRId64 " - n;", in[1] - 1);
    else c_line(t, "const int t = n;");
    c_line(t, "const float *u = x + t * %" PRId64 ";", in[2]);
    c_line(t, "float *p = y + n * %" PRId64 ";", out);
    if (k.r->mask) print_masked(&k, step, out);
    print_step(&k);
    c_line(t, "memcpy(p, h, %" PRId64 " * sizeof *p);", k.units);
    if (k.r->cell_state) c_line(t, "memcpy(p + %" PRId64 ", c, %" PRId64 " * sizeof *p);", k.units, k.units);
    c_line(t, "}");
    return SUCCESS;
}

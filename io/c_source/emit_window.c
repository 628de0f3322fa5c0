/* Windows over height and width. Output pixels are i, j, the window's a, b, input pixels r, q. */
#include "io/c_source/emit.h"

#include <inttypes.h>
#include <stdlib.h>

/* " * 2", or nothing. */
static const char *times(int64_t n, char *buffer) {
    buffer[0] = 0;
    if (n != 1) snprintf(buffer, 32, " * %" PRId64, n);
    return buffer;
}

/* "i * 2 - 1 + a": the row or column that a window's tap meets; what lies outside is left out. A window of
 * one has no taps. */
static void print_row(struct c_text *t, char to, char pixel, char tap, const struct window *w, int axis,
                      int64_t limit) {
    char stride[32], dilation[32], before[32] = "", taps[48] = "";
    if (w->before[axis]) snprintf(before, sizeof before, " - %d", w->before[axis]);
    if (w->size[axis] > 1) snprintf(taps, sizeof taps, " + %c%s", tap, times(w->dilation[axis], dilation));
    c_line(t, "const int %c = %c%s%s%s;", to, pixel, times(w->stride[axis], stride), before, taps);
    if (w->before[axis] && w->after[axis])
        c_line(t, "if (%c < 0 || %c >= %" PRId64 ") continue;", to, to, limit);
    else if (w->before[axis]) c_line(t, "if (%c < 0) continue;", to);
    else if (w->after[axis]) c_line(t, "if (%c >= %" PRId64 ") continue;", to, limit);
}

/* The kernel's tap: "name + (a * 3 + b) * 32". */
static const char *kernel_at(const char *kernel, const struct window *w, int64_t each, char *buffer,
                             size_t room) {
    char size[32], scale[32];
    times(w->size[1], size);
    times(each, scale);
    if (w->size[0] > 1 && w->size[1] > 1) snprintf(buffer, room, "%s + (a%s + b)%s", kernel, size, scale);
    else if (w->size[0] > 1 || w->size[1] > 1)
        snprintf(buffer, room, "%s + %c%s", kernel, w->size[0] > 1 ? 'a' : 'b', scale);
    else snprintf(buffer, room, "%s", kernel);
    return buffer;
}

static void open_output(struct c_text *t, const int64_t *out) {
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", out[1]);
    c_line(t, "for (int j = 0; j < %" PRId64 "; j++) {", out[2]);
    c_line(t, "float *restrict p = y + (i * %" PRId64 " + j) * %" PRId64 ";", out[2], out[3]);
}

/* A loop over the window along an axis; none where there is one place only and all of it is inside. */
static int open_taps(struct c_text *t, char to, char pixel, char tap, const struct window *w, int axis,
                     int64_t limit) {
    const bool loops = w->size[axis] > 1 || w->before[axis] || w->after[axis];
    if (loops) c_line(t, "for (int %c = 0; %c < %d; %c++) {", tap, tap, w->size[axis], tap);
    print_row(t, to, pixel, tap, w, axis, limit);
    return loops;
}

/* Down to the input pixel r, q at u; returns how many blocks are open. */
static int open_window(struct c_text *t, const struct window *w, const int64_t *in) {
    int n = open_taps(t, 'r', 'i', 'a', w, 0, in[1]);
    n += open_taps(t, 'q', 'j', 'b', w, 1, in[2]);
    c_line(t, "const float *restrict u = x + (r * %" PRId64 " + q) * %" PRId64 ";", in[2], in[3]);
    return n;
}

static void close(struct c_text *t, int n) {
    while (n--) c_line(t, "}");
}

static void print_start(struct c_text *t, const char *bias, int64_t channels) {
    if (bias) c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] = %s[m];", channels, bias);
    else c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] = 0.0f;", channels);
}

static void print_function(struct c_source *s, struct c_step *step, int64_t channels) {
    char result[80];
    if (!step->has_function) return;
    c_line(s->text, "for (int m = 0; m < %" PRId64 "; m++) p[m] = %s;", channels,
           c_result(s, step, "p[m]", result, sizeof result));
}

status c_emit_conv(struct c_source *s, struct c_step *step) {
    const struct window *w = &step->op->u.conv.window;
    const int64_t *in = c_shape(s, step->op->in[0])->dim, *out = c_shape(s, step->out)->dim;
    const int64_t groups = step->op->u.conv.groups, channels = in[3] / groups, filters = out[3] / groups;
    const char *kernel = c_kernel(s, step), *bias = c_bias(s, step);
    struct c_text *t = s->text;
    char text[600], to[64], factor[64];
    open_output(t, out);
    print_start(t, bias, out[3]);
    const int open = open_window(t, w, in);
    c_line(t, "const float *restrict k = %s;", kernel_at(kernel, w, channels * out[3], text, sizeof text));
    if (groups > 1) {
        c_line(t, "for (int g = 0; g < %" PRId64 "; g++) {", groups);
        c_line(t, "for (int c = 0; c < %" PRId64 "; c++) {", channels);
        snprintf(to, sizeof to, "p + g * %" PRId64, filters);
        snprintf(factor, sizeof factor, "u[g * %" PRId64 " + c]", channels);
        snprintf(text, sizeof text, "k + c * %" PRId64 " + g * %" PRId64, out[3], filters);
        c_add_scaled(t, to, factor, text, filters);
        close(t, 2);
    } else {
        c_line(t, "for (int c = 0; c < %" PRId64 "; c++) {", channels);
        snprintf(text, sizeof text, "k + c * %" PRId64, filters);
        c_add_scaled(t, "p", "u[c]", text, filters);
        close(t, 1);
    }
    close(t, open);
    print_function(s, step, out[3]);
    close(t, 2);
    return SUCCESS;
}

status c_emit_depthwise(struct c_source *s, struct c_step *step) {
    const struct window *w = &step->op->u.conv.window;
    const int64_t *in = c_shape(s, step->op->in[0])->dim, *out = c_shape(s, step->out)->dim;
    const int64_t each = out[3] / in[3];
    const char *kernel = c_kernel(s, step), *bias = c_bias(s, step);
    struct c_text *t = s->text;
    char text[600], to[64];
    open_output(t, out);
    print_start(t, bias, out[3]);
    const int open = open_window(t, w, in);
    kernel_at(kernel, w, out[3], text, sizeof text);
    if (each == 1) {
        c_add_products(t, "p", "u", text, out[3]);
    } else {
        c_line(t, "const float *restrict k = %s;", text);
        snprintf(to, sizeof to, "p + c * %" PRId64, each);
        snprintf(text, sizeof text, "k + c * %" PRId64, each);
        c_line(t, "for (int c = 0; c < %" PRId64 "; c++) {", in[3]);
        c_add_scaled(t, to, "u[c]", text, each);
        close(t, 1);
    }
    close(t, open);
    print_function(s, step, out[3]);
    close(t, 2);
    return SUCCESS;
}

/* The kernel (kh,kw,M,C) as (kh,kw,C,M), so that the innermost loop is over what is written. */
static const char *turned_kernel(struct c_source *s, struct c_step *step) {
    const int64_t *d = s->ops->param[step->op->param[0]].shape.dim;
    const int64_t filters = d[2], channels = d[3], count = d[0] * d[1] * filters * channels;
    const float *from = step->kernel ? step->kernel : params_at(s->params, step->op->param[0]);
    float *to = malloc((size_t)count * sizeof *to);
    for (int64_t i = 0; to && i < count; i++) {
        const int64_t tap = i / (filters * channels), c = i / filters % channels, m = i % filters;
        to[i] = from[(tap * filters + m) * channels + c];
    }
    return c_constant(s->text, c_layer(s, step), "kernel", &SHAPE(d[0], d[1], channels, filters), to, to);
}

/* The window goes from the output to the input: here i, j are pixels of the input, and r, q of the output. */
status c_emit_conv_transpose(struct c_source *s, struct c_step *step) {
    const struct window *w = &step->op->u.conv.window;
    const int64_t *in = c_shape(s, step->op->in[0])->dim, *out = c_shape(s, step->out)->dim;
    const char *kernel = turned_kernel(s, step), *bias = c_bias(s, step);
    struct c_text *t = s->text;
    char result[80], text[600];
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", out[1] * out[2]);
    c_line(t, "float *restrict p = y + i * %" PRId64 ";", out[3]);
    print_start(t, bias, out[3]);
    close(t, 1);
    c_line(t, "for (int i = 0; i < %" PRId64 "; i++) {", in[1]);
    c_line(t, "for (int j = 0; j < %" PRId64 "; j++) {", in[2]);
    c_line(t, "const float *restrict u = x + (i * %" PRId64 " + j) * %" PRId64 ";", in[2], in[3]);
    c_line(t, "for (int a = 0; a < %d; a++) {", w->size[0]);
    c_line(t, "const int r = i * %d - %d + a * %d;", w->stride[0], w->before[0], w->dilation[0]);
    c_line(t, "if (r < 0 || r >= %" PRId64 ") continue;", out[1]);
    c_line(t, "for (int b = 0; b < %d; b++) {", w->size[1]);
    c_line(t, "const int q = j * %d - %d + b * %d;", w->stride[1], w->before[1], w->dilation[1]);
    c_line(t, "if (q < 0 || q >= %" PRId64 ") continue;", out[2]);
    c_line(t, "float *restrict p = y + (r * %" PRId64 " + q) * %" PRId64 ";", out[2], out[3]);
    c_line(t, "const float *restrict k = %s;", kernel_at(kernel, w, in[3] * out[3], text, sizeof text));
    c_line(t, "for (int c = 0; c < %" PRId64 "; c++) {", in[3]);
    snprintf(text, sizeof text, "k + c * %" PRId64, out[3]);
    c_add_scaled(t, "p", "u[c]", text, out[3]);
    close(t, 5);
    if (step->has_function)
        c_line(t, "for (int i = 0; i < %" PRId64 "; i++) y[i] = %s;", out[1] * out[2] * out[3],
               c_result(s, step, "y[i]", result, sizeof result));
    return SUCCESS;
}

/* Padding is not counted. */
status c_emit_pool(struct c_source *s, struct c_step *step) {
    const struct window *w = &step->op->u.pool.window;
    const int64_t *in = c_shape(s, step->op->in[0])->dim, *out = c_shape(s, step->out)->dim;
    const bool max = step->op->u.pool.kind == POOL_MAX;
    struct c_text *t = s->text;
    open_output(t, out);
    c_line(t, "int n = 0;");
    c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] = %s;", out[3], max ? "-INFINITY" : "0.0f");
    const int open = open_window(t, w, in);
    if (max) c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] = u[m] > p[m] ? u[m] : p[m];", out[3]);
    else c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] += u[m];", out[3]);
    c_line(t, "n++;");
    close(t, open);
    if (max) c_line(t, "if (n == 0) memset(p, 0, %" PRId64 " * sizeof *p);", out[3]);
    else c_line(t, "for (int m = 0; m < %" PRId64 "; m++) p[m] *= n ? 1.0f / (float)n : 0.0f;", out[3]);
    close(t, 2);
    return SUCCESS;
}

/* ---- resize ---- */

static float ratio(int64_t in, int64_t out) {
    return (float)in / (float)out;
}

static void print_nearest(struct c_text *t, char to, char pixel, int64_t in, int64_t out) {
    char number[40];
    c_line(t, "int %c = (int)(((float)%c + 0.5f) * %s);", to, pixel, c_number(ratio(in, out), number));
    c_line(t, "if (%c > %" PRId64 ") %c = %" PRId64 ";", to, in - 1, to, in - 1);
}

/* Pixels r0 and r1 and the weight of r1. */
static void print_between(struct c_text *t, char to, char pixel, int64_t in, int64_t out) {
    char number[40];
    c_line(t,
           "const float %c = ((float)%c + 0.5f) * %s - 0.5f, %c_below = floorf(%c), %c_part = %c - %c_below;",
           to, pixel, c_number(ratio(in, out), number), to, to, to, to, to);
    c_line(t, "const int %c0 = %c_below < 0.0f ? 0 : (int)%c_below;", to, to, to);
    c_line(t, "const int %c1 = (int)%c_below + 1 > %" PRId64 " ? %" PRId64 " : (int)%c_below + 1;", to, to,
           in - 1, in - 1, to);
}

status c_emit_resize(struct c_source *s, struct c_step *step) {
    const int64_t *in = c_shape(s, step->op->in[0])->dim, *out = c_shape(s, step->out)->dim;
    struct c_text *t = s->text;
    open_output(t, out);
    if (step->op->u.resize.kind == RESIZE_NEAREST) {
        print_nearest(t, 'r', 'i', in[1], out[1]);
        print_nearest(t, 'q', 'j', in[2], out[2]);
        c_line(t, "memcpy(p, x + (r * %" PRId64 " + q) * %" PRId64 ", %" PRId64 " * sizeof *p);", in[2],
               in[3], in[3]);
    } else {
        print_between(t, 'r', 'i', in[1], out[1]);
        print_between(t, 'q', 'j', in[2], out[2]);
        for (int k = 0; k < 4; k++)
            c_line(t, "const float *u%d = x + (r%d * %" PRId64 " + q%d) * %" PRId64 ";", k, k / 2, in[2],
                   k % 2, in[3]);
        c_line(t, "for (int m = 0; m < %" PRId64 "; m++) {", in[3]);
        c_line(t, "p[m] = (1.0f - r_part) * ((1.0f - q_part) * u0[m] + q_part * u1[m])");
        c_line(t, "    + r_part * ((1.0f - q_part) * u2[m] + q_part * u3[m]);");
        close(t, 1);
    }
    close(t, 2);
    return SUCCESS;
}

#include "shared/receptive.h"

#include <math.h>

#include <stdlib.h>
#include <string.h>

/* What is known of a value along height or width: its axis, on which position q depends on the input from
 * q * step + low to q * step + high. */
struct span {
    int axis;
    double step, low, high;
};

/* Of a value. */
struct known {
    bool depends; /* on the input image; if not, it is the same for every tile */
    bool whole;   /* on all of it */
    struct span span[2];
};

struct search {
    const struct opgraph *ops;
    struct known *known;     /* [nvalues], owned */
    const struct known **in; /* of the operation at hand, owned */
    int64_t align[2];
    const char *why;
};

static const struct shape *shape_of(const struct search *s, int value) {
    return &s->ops->value[value];
}

static int64_t common_multiple(int64_t a, int64_t b) {
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* A window: position q covers q * stride - before and so many more, dilation apart. */
static void slide(struct span *span, double size, double stride, double dilation, double before) {
    span->low -= span->step * before;
    span->high += span->step * ((size - 1) * dilation - before);
    span->step *= stride;
}

/* Finer by a factor: position q is in position q / factor of what was before. */
static void spread(struct span *span, double factor, double low, double high) {
    span->low += span->step * low;
    span->high += span->step * high;
    span->step /= factor;
}

static bool is_image(const struct search *s, const struct known *k, int value) {
    return shape_of(s, value)->rank == 4 && k->span[0].axis == 1 && k->span[1].axis == 2;
}

static void slide_window(struct known *k, const struct window *w) {
    for (int i = 0; i < 2; i++) slide(&k->span[i], w->size[i], w->stride[i], w->dilation[i], w->before[i]);
}

/* The other way round: of position q, (q + before - j * dilation) / stride for the entries j of the kernel.
 */
static void slide_back(struct known *k, const struct window *w) {
    for (int i = 0; i < 2; i++) {
        double last = (double)(w->size[i] - 1) * w->dilation[i];
        spread(&k->span[i], w->stride[i], ((double)w->before[i] - last) / w->stride[i],
               (double)w->before[i] / w->stride[i]);
    }
}

/* Positions of the input under those of the output, of a size that is a whole multiple. */
static bool resize(const struct search *s, const struct op *op, struct known *k) {
    for (int i = 0; i < 2; i++) {
        int64_t in = shape_of(s, op->in[0])->dim[1 + i], out = shape_of(s, op->out)->dim[1 + i];
        if (in < 1 || (out % in && in % out)) return false;
        double factor = (double)out / (double)in;
        bool linear = op->u.resize.kind == RESIZE_BILINEAR;
        /* (q + 1/2) / factor - 1/2 and its neighbours, or the pixel it lies in. */
        double middle = 0.5 / factor - 0.5;
        spread(&k->span[i], factor, linear ? middle - 1 : fmin(middle - 0.5, 0),
               linear ? middle + 1 : fmax(middle + 0.5, 0));
    }
    return true;
}

/* ---- shapes that change ---- */

static int span_at(const struct known *k, int axis) {
    return k->span[0].axis == axis ? 0 : k->span[1].axis == axis ? 1 : -1;
}

/* Axes [from, from + n) of the input become [to, to + m) of the output, with as many elements. */
static bool regroup(const struct search *s, const struct op *op, int from, int n, int to, int m,
                    const struct known *in, struct known *out) {
    const int64_t *is = shape_of(s, op->in[0])->dim + from, *will = shape_of(s, op->out)->dim + to;
    int inside = 0, at = -1, which = -1;
    for (int i = 0; i < n; i++)
        if (span_at(in, from + i) >= 0) {
            inside++;
            at = i;
            which = span_at(in, from + i);
        }
    if (inside == 0) return true;
    if (inside > 1) return false;
    struct span *span = &out->span[which];
    int64_t after = 1, length = is[at];
    for (int i = at + 1; i < n; i++) after *= is[i];
    for (int i = 0; i < at; i++)
        if (is[i] != 1) return false;
    int first = 0;
    while (first < m - 1 && will[first] == 1) first++;
    span->axis = to + first;
    if (will[first] == length) return true; /* the others part otherwise */
    if (will[first] == length * after) {    /* they become one with it */
        spread(span, (double)after, -(1 - 1 / (double)after), 0);
        return true;
    }
    if (after == 1 && will[first] > 0 && length % will[first] == 0) { /* it is parted */
        int64_t part = length / will[first];
        span->high += span->step * (double)(part - 1);
        span->step *= (double)part;
        return true;
    }
    return false;
}

/* Parts that have as many elements on both sides, from the left. */
static bool reshape(const struct search *s, const struct op *op, struct known *k) {
    const struct shape *in = shape_of(s, op->in[0]), *out = shape_of(s, op->out);
    struct known made = *k;
    int i = 1, j = 1;
    while (i < in->rank || j < out->rank) {
        int from = i, to = j;
        int64_t a = i < in->rank ? in->dim[i++] : 1, b = j < out->rank ? out->dim[j++] : 1;
        while (a != b)
            if (a < b && i < in->rank) a *= in->dim[i++];
            else if (b < a && j < out->rank) b *= out->dim[j++];
            else return false;
        if (!regroup(s, op, from, i - from, to, j - to, k, &made)) return false;
    }
    *k = made;
    return true;
}

static void transpose(const struct search *s, const struct op *op, struct known *k) {
    const struct known in = *k;
    for (int i = 0; i < shape_of(s, op->out)->rank; i++) {
        int which = span_at(&in, op->u.transpose.axis[i]);
        if (which >= 0) k->span[which].axis = i;
    }
}

static bool slice(const struct op *op, struct known *k) {
    for (int i = 0; i < 2; i++) {
        struct span *span = &k->span[i];
        int start = op->u.slice.start[span->axis], step = op->u.slice.step[span->axis];
        if (step < 1) return false;
        slide(span, 1, step, 1, -start);
    }
    return true;
}

static void pad(const struct op *op, struct known *k) {
    for (int i = 0; i < 2; i++) slide(&k->span[i], 1, 1, 1, op->u.pad.before[k->span[i].axis]);
}

/* ---- operations ---- */

/* Is the axis neither height nor width? */
static bool is_channel(const struct known *k, int axis) {
    return axis > 0 && span_at(k, axis) < 0;
}

static bool all_channels(const struct known *k, unsigned axes) {
    for (int axis = 0; axis < 32; axis++)
        if ((axes >> axis & 1) && !is_channel(k, axis)) return false;
    return true;
}

/* An operation on one value, which k is of; false: all of it is needed. */
static bool pass(const struct search *s, const struct op *op, struct known *k) {
    int rank = shape_of(s, op->in[0])->rank;
    switch (op->kind) {
    case OP_CONV:
    case OP_DEPTHWISE:
        if (is_image(s, k, op->in[0])) slide_window(k, &op->u.conv.window);
        return is_image(s, k, op->in[0]);
    case OP_CONV_TRANSPOSE:
        if (is_image(s, k, op->in[0])) slide_back(k, &op->u.conv.window);
        return is_image(s, k, op->in[0]);
    case OP_POOL:
        if (is_image(s, k, op->in[0])) slide_window(k, &op->u.pool.window);
        return is_image(s, k, op->in[0]);
    case OP_RESIZE:
        return is_image(s, k, op->in[0]) && resize(s, op, k);
    case OP_ACTIVATION:
    case OP_AFFINE:
    case OP_SCALE:
    case OP_BATCH_NORM:
    case OP_DROPOUT:
        return is_channel(k, rank - 1);
    case OP_PRELU: { /* alpha is of a sample's rank */
        const struct shape *alpha = &s->ops->param[op->param[0]].shape;
        for (int i = 0; i < 2; i++)
            if (k->span[i].axis - 1 < alpha->rank && alpha->dim[k->span[i].axis - 1] != 1) return false;
        return true;
    }
    case OP_DENSE:
        return is_channel(k, rank - 1);
    case OP_SOFTMAX:
        return is_channel(k, op->u.axis.axis) && !op->u.axis.causal;
    case OP_LAYER_NORM:
        return all_channels(k, op->u.norm.axes);
    case OP_REDUCE:
        return all_channels(k, op->u.reduce.axes) && shape_of(s, op->out)->rank == rank;
    case OP_PAD:
        pad(op, k);
        return true;
    case OP_SLICE:
        return slice(op, k);
    case OP_TRANSPOSE:
        transpose(s, op, k);
        return true;
    case OP_RESHAPE:
        return reshape(s, op, k);
    default:
        return false;
    }
}

/* Several values that lie over each other. */
static bool join(const struct search *s, const struct op *op, const struct known *const *in,
                 struct known *k) {
    bool first = true;
    for (int i = 0; i < op->nin; i++) {
        const struct shape *shape = shape_of(s, op->in[i]);
        if (!in[i]->depends) continue;
        struct known one = *in[i];
        for (int d = 0; d < 2; d++) /* numpy lines axes up from the right */
            one.span[d].axis += shape_of(s, op->out)->rank - shape->rank;
        if (first) {
            *k = one;
            first = false;
            continue;
        }
        for (int d = 0; d < 2; d++) {
            struct span *a = &k->span[d];
            const struct span *b = &one.span[d];
            if (a->axis != b->axis || a->step != b->step) return false;
            if (b->low < a->low) a->low = b->low;
            if (b->high > a->high) a->high = b->high;
        }
    }
    /* What does not depend on the image must be the same in every place of it. */
    for (int i = 0; i < op->nin; i++) {
        const struct shape *shape = shape_of(s, op->in[i]);
        int shift = shape_of(s, op->out)->rank - shape->rank;
        for (int d = 0; d < 2 && !in[i]->depends; d++)
            if (k->span[d].axis >= shift && shape->dim[k->span[d].axis - shift] != 1) return false;
    }
    return op->kind == OP_BINARY || (op->kind == OP_CONCAT && is_channel(k, op->u.axis.axis));
}

static void visit(struct search *s, const struct op *op) {
    struct known *k = &s->known[op->out];
    const struct known **in = s->in;
    int depends = 0;
    for (int i = 0; i < op->nin; i++) {
        in[i] = &s->known[op->in[i]];
        depends += in[i]->depends;
        if (in[i]->whole) k->whole = true;
    }
    if (!depends) return;
    bool local = !k->whole;
    if (local && op->nin == 1) {
        *k = *in[0];
        local = pass(s, op, k);
    } else if (local) {
        local = join(s, op, in, k);
    }
    if (!local && !k->whole) s->why = op_name(op->kind);
    k->depends = true;
    k->whole = !local;
    for (int d = 0; d < 2 && local; d++)
        if (k->span[d].step > 1) {
            int64_t step = (int64_t)k->span[d].step;
            if ((double)step == k->span[d].step) s->align[d] = common_multiple(s->align[d], step);
            else s->align[d] = common_multiple(s->align[d], (int64_t)(1024 * k->span[d].step));
        }
}

status receptive_field(const struct opgraph *ops, struct receptive field[2], const char **why) {
    struct search s = {.ops = ops, .align = {1, 1}};
    const struct shape *in = &ops->value[ops->input[0]], *out = &ops->value[ops->output[0]];
    *why = NULL;
    if (ops->ninputs != 1 || in->rank != 4 || out->rank != 4) {
        *why = "no image to image";
        return SUCCESS;
    }
    int most = 1;
    for (int i = 0; i < ops->nops; i++)
        if (ops->op[i].nin > most) most = ops->op[i].nin;
    s.known = calloc((size_t)ops->nvalues + 1, sizeof *s.known);
    s.in = calloc((size_t)most, sizeof *s.in);
    if (!s.known || !s.in) {
        free(s.known);
        free(s.in);
        return status_no_memory("receptive fields", (size_t)ops->nvalues * sizeof *s.known);
    }
    s.known[ops->input[0]] =
        (struct known){.depends = true, .span = {{.axis = 1, .step = 1}, {.axis = 2, .step = 1}}};
    for (int i = 0; i < ops->nops; i++) visit(&s, &ops->op[i]);
    const struct known *k = &s.known[ops->output[0]];
    if (!k->depends || k->whole || !is_image(&s, k, ops->output[0])) *why = s.why ? s.why : "its shape";
    for (int d = 0; d < 2 && !*why; d++)
        field[d] = (struct receptive){k->span[d].step, -k->span[d].low, k->span[d].high, s.align[d]};
    free(s.known);
    free(s.in);
    return SUCCESS;
}

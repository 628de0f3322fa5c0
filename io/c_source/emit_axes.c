/* Operations that move elements. */
#include "io/c_source/emit.h"

#include <inttypes.h>

/* y[..] = x[..]; arrays: x, y. */
static void print_copy(struct c_text *t, struct c_nest *n, const char *from) {
    char x[256], y[256];
    c_nest_simplify(n);
    const int last = n->rank - 1;
    /* Runs are copied at once. */
    if (last >= 0 && n->stride[0][last] == 1 && n->stride[1][last] == 1) {
        const int64_t run = n->dim[last];
        n->rank--;
        c_nest_open(t, n, 'i');
        c_line(t, "memcpy(y + %s, %s + %s, %" PRId64 " * sizeof *y);", c_nest_at(n, 1, 'i', y), from,
               c_nest_at(n, 0, 'i', x), run);
    } else {
        c_nest_open(t, n, 'i');
        c_line(t, "y[%s] = (%s)[%s];", c_nest_at(n, 1, 'i', y), from, c_nest_at(n, 0, 'i', x));
    }
    c_nest_close(t, n);
}

/* A nest over a sample of `value`, with its own strides for array `array`. */
static struct c_nest nest_over(const struct c_source *s, int value, int array) {
    const struct shape *shape = c_shape(s, value);
    struct c_nest n = {.rank = shape->rank - 1, .narrays = 2};
    for (int i = 0; i < n.rank; i++) n.dim[i] = shape->dim[i + 1];
    c_strides(shape, n.stride[array]);
    return n;
}

status c_emit_copy(struct c_source *s, struct c_step *step) {
    c_line(s->text, "memcpy(y, x, %" PRId64 " * sizeof *y);", c_count(s->ops, step->out));
    return SUCCESS;
}

status c_emit_concat(struct c_source *s, struct c_step *step) {
    const int axis = step->op->u.axis.axis - 1;
    int64_t at = 0;
    for (int k = 0; k < step->op->nin; k++) {
        struct c_nest n = nest_over(s, step->op->in[k], 0);
        char from[64];
        c_strides(c_shape(s, step->out), n.stride[1]);
        n.offset[1] = at * n.stride[1][axis];
        at += n.dim[axis];
        c_value(s, step->op->in[k], from);
        print_copy(s->text, &n, from);
    }
    return SUCCESS;
}

status c_emit_pad(struct c_source *s, struct c_step *step) {
    struct c_nest n = nest_over(s, step->op->in[0], 0);
    c_strides(c_shape(s, step->out), n.stride[1]);
    for (int i = 0; i < n.rank; i++) n.offset[1] += n.stride[1][i] * step->op->u.pad.before[i + 1];
    c_line(s->text, "memset(y, 0, %" PRId64 " * sizeof *y);", c_count(s->ops, step->out));
    print_copy(s->text, &n, "x");
    return SUCCESS;
}

status c_emit_slice(struct c_source *s, struct c_step *step) {
    struct c_nest n = nest_over(s, step->out, 1);
    c_strides(c_shape(s, step->op->in[0]), n.stride[0]);
    for (int i = 0; i < n.rank; i++) {
        n.offset[0] += n.stride[0][i] * step->op->u.slice.start[i + 1];
        n.stride[0][i] *= step->op->u.slice.step[i + 1];
    }
    print_copy(s->text, &n, "x");
    return SUCCESS;
}

status c_emit_transpose(struct c_source *s, struct c_step *step) {
    struct c_nest n = nest_over(s, step->out, 1);
    int64_t stride[SHAPE_MAX_RANK];
    c_strides(c_shape(s, step->op->in[0]), stride);
    for (int i = 0; i < n.rank; i++) n.stride[0][i] = stride[step->op->u.transpose.axis[i + 1] - 1];
    print_copy(s->text, &n, "x");
    return SUCCESS;
}

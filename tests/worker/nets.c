#include "worker/nets.h"

#include "shared/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void must(status error) {
    if (!error) return;
    print_error("%s\n", status_message(error));
    status_drop(&error);
    fail();
}

struct opgraph *net_create(void) {
    struct opgraph *g;
    must(opgraph_create(&g));
    return g;
}

int net_input(struct opgraph *g, struct shape shape) {
    int value, *inputs = calloc((size_t)g->ninputs + 1, sizeof *inputs);
    assert_non_null(inputs);
    shape.dim[0] = SHAPE_UNKNOWN;
    must(opgraph_add_value(g, &shape, &value));
    if (g->ninputs) memcpy(inputs, g->input, (size_t)g->ninputs * sizeof *inputs);
    inputs[g->ninputs] = value;
    must(opgraph_set_io(g, g->ninputs + 1, inputs, g->noutputs, g->output ? g->output : inputs));
    free(inputs);
    return value;
}

static int add_param(struct opgraph *g, struct shape shape, bool trainable) {
    int index;
    must(opgraph_add_param(g, &(struct param){.shape = shape, .trainable = trainable}, &index));
    return index;
}

static struct op op_of(enum op_kind kind, int *x, int n) {
    return (struct op){.kind = kind, .node = -1, .nin = n, .in = x, .param = {-1, -1, -1, -1}};
}

static int add_op(struct opgraph *g, const struct op *op, struct shape out) {
    int value;
    out.dim[0] = SHAPE_UNKNOWN;
    must(opgraph_add_op(g, op, &out, &value));
    return value;
}

static struct window window_of(const int64_t in[2], int height, int width, struct window_options o,
                               int64_t out[2]) {
    struct window w = {{height, width}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
    for (int i = 0; i < 2; i++) {
        if (o.stride[i]) w.stride[i] = o.stride[i];
        if (o.dilation[i]) w.dilation[i] = o.dilation[i];
        w.before[i] = o.before[i];
        w.after[i] = o.after[i];
    }
    if (o.same) window_pad_same(&w, in);
    window_output(&w, in, out);
    assert_true(out[0] > 0 && out[1] > 0);
    return w;
}

int net_conv_transpose(struct opgraph *g, int x, int height, int width, int filters, const int64_t out[2],
                       struct window_options o) {
    int64_t in[2];
    struct op op = op_of(OP_CONV_TRANSPOSE, &x, 1);
    op.u.conv.window = window_of(out, height, width, o, in);
    op.u.conv.groups = 1;
    assert_true(in[0] == g->value[x].dim[1] && in[1] == g->value[x].dim[2]);
    op.param[0] = add_param(g, SHAPE(height, width, filters, g->value[x].dim[3]), true);
    if (!o.no_bias) op.param[1] = add_param(g, SHAPE(filters), true);
    return add_op(g, &op, SHAPE(-1, out[0], out[1], filters));
}

int net_conv(struct opgraph *g, int x, int height, int width, int filters, struct window_options o) {
    int64_t out[2], channels = g->value[x].dim[3];
    struct op op = op_of(OP_CONV, &x, 1);
    op.u.conv.window = window_of(&g->value[x].dim[1], height, width, o, out);
    op.u.conv.groups = o.groups ? o.groups : 1;
    op.param[0] = add_param(g, SHAPE(height, width, channels / op.u.conv.groups, filters), true);
    if (!o.no_bias) op.param[1] = add_param(g, SHAPE(filters), true);
    return add_op(g, &op, SHAPE(-1, out[0], out[1], filters));
}

int net_depthwise(struct opgraph *g, int x, int height, int width, int multiplier, struct window_options o) {
    int64_t out[2], channels = g->value[x].dim[3];
    struct op op = op_of(OP_DEPTHWISE, &x, 1);
    op.u.conv.window = window_of(&g->value[x].dim[1], height, width, o, out);
    op.u.conv.groups = (int)channels;
    op.param[0] = add_param(g, SHAPE(height, width, channels, multiplier), true);
    if (!o.no_bias) op.param[1] = add_param(g, SHAPE(channels * multiplier), true);
    return add_op(g, &op, SHAPE(-1, out[0], out[1], channels * multiplier));
}

int net_recurrent(struct opgraph *g, int x, int units, const struct recurrent *r, const int *more,
                  bool bias) {
    int in[4] = {x};
    for (int i = 0; i < r->states + r->mask; i++) in[1 + i] = more[i];
    struct op op = op_of(OP_RECURRENT, in, 1 + r->states + r->mask);
    const int64_t gates = units * (r->cell == CELL_LSTM ? 4 : r->cell == CELL_GRU ? 3 : 1);
    op.u.recurrent = *r;
    op.param[0] = add_param(g, SHAPE(g->value[x].dim[2], gates), true);
    op.param[1] = add_param(g, SHAPE(units, gates), true);
    const bool both = r->cell == CELL_GRU && r->reset_after;
    if (bias) op.param[2] = add_param(g, both ? SHAPE(2, gates) : SHAPE(gates), true);
    return add_op(g, &op, SHAPE(-1, g->value[x].dim[1], r->cell_state ? 2 * units : units));
}

int net_dense(struct opgraph *g, int x, int units, bool bias) {
    struct shape shape = g->value[x];
    struct op op = op_of(OP_DENSE, &x, 1);
    op.param[0] = add_param(g, SHAPE(shape.dim[shape.rank - 1], units), true);
    if (bias) op.param[1] = add_param(g, SHAPE(units), true);
    shape.dim[shape.rank - 1] = units;
    return add_op(g, &op, shape);
}

int net_batch_norm(struct opgraph *g, int x, bool gamma, bool beta) {
    struct shape shape = g->value[x];
    int64_t channels = shape.dim[shape.rank - 1];
    struct op op = op_of(OP_BATCH_NORM, &x, 1);
    if (gamma) op.param[0] = add_param(g, SHAPE(channels), true);
    if (beta) op.param[1] = add_param(g, SHAPE(channels), true);
    op.param[2] = add_param(g, SHAPE(channels), false);
    op.param[3] = add_param(g, SHAPE(channels), false);
    op.u.norm.epsilon = 1e-3f;
    op.u.norm.momentum = 0.9f;
    return add_op(g, &op, shape);
}

int net_batch_norm_fixed(struct opgraph *g, int x) {
    int y = net_batch_norm(g, x, true, true);
    g->op[opgraph_producer(g, y)].u.norm.fixed = true;
    return y;
}

int net_layer_norm(struct opgraph *g, int x, unsigned axes, bool gamma, bool beta) {
    struct op op = op_of(OP_LAYER_NORM, &x, 1);
    struct shape shape = {.rank = 0};
    for (int i = 0; i < g->value[x].rank; i++)
        if (axes >> i & 1) shape.dim[shape.rank++] = g->value[x].dim[i];
    if (gamma) op.param[0] = add_param(g, shape, true);
    if (beta) op.param[1] = add_param(g, shape, true);
    op.u.norm.epsilon = 1e-3f;
    op.u.norm.axes = axes;
    return add_op(g, &op, g->value[x]);
}

int net_scale(struct opgraph *g, int x, bool gamma, bool beta) {
    struct op op = op_of(OP_SCALE, &x, 1);
    int64_t channels = g->value[x].dim[g->value[x].rank - 1];
    if (gamma) op.param[0] = add_param(g, SHAPE(channels), true);
    if (beta) op.param[1] = add_param(g, SHAPE(channels), true);
    return add_op(g, &op, g->value[x]);
}

int net_prelu(struct opgraph *g, int x, struct shape alpha) {
    struct op op = op_of(OP_PRELU, &x, 1);
    op.param[0] = add_param(g, alpha, true);
    return add_op(g, &op, g->value[x]);
}

int net_activation(struct opgraph *g, int x, enum activation kind, float alpha, float beta, float gamma) {
    struct op op = op_of(OP_ACTIVATION, &x, 1);
    op.u.act.kind = kind;
    op.u.act.alpha = alpha;
    op.u.act.beta = beta;
    op.u.act.gamma = gamma;
    return add_op(g, &op, g->value[x]);
}

int net_relu(struct opgraph *g, int x) {
    return net_activation(g, x, ACTIVATION_RELU, 0, INFINITY, 0);
}

int net_softmax(struct opgraph *g, int x, int axis) {
    struct op op = op_of(OP_SOFTMAX, &x, 1);
    op.u.axis.axis = axis;
    return add_op(g, &op, g->value[x]);
}

int net_softmax_causal(struct opgraph *g, int x) {
    int y = net_softmax(g, x, g->value[x].rank - 1);
    g->op[opgraph_producer(g, y)].u.axis.causal = true;
    return y;
}

int net_binary(struct opgraph *g, enum binary kind, int a, int b) {
    int x[2] = {a, b};
    struct op op = op_of(OP_BINARY, x, 2);
    op.u.binary.kind = kind;
    struct shape sa = g->value[a], sb = g->value[b], out = sa.rank >= sb.rank ? sa : sb;
    for (int i = 1; i <= out.rank; i++) {
        int64_t da = i <= sa.rank ? sa.dim[sa.rank - i] : 1, db = i <= sb.rank ? sb.dim[sb.rank - i] : 1;
        out.dim[out.rank - i] = da == 1 ? db : da;
    }
    return add_op(g, &op, out);
}

int net_matmul(struct opgraph *g, int a, int b, bool transpose_a, bool transpose_b, float scale) {
    int x[2] = {a, b};
    struct op op = op_of(OP_MATMUL, x, 2);
    op.u.matmul.transpose_a = transpose_a;
    op.u.matmul.transpose_b = transpose_b;
    op.u.matmul.scale = scale;
    struct shape out = g->value[a];
    out.dim[out.rank - 2] = g->value[a].dim[out.rank - 2 + transpose_a];
    out.dim[out.rank - 1] = g->value[b].dim[out.rank - 1 - transpose_b];
    return add_op(g, &op, out);
}

int net_concat(struct opgraph *g, int axis, int n, const int *x) {
    int in[8];
    assert_true(n <= 8);
    memcpy(in, x, (size_t)n * sizeof *x);
    struct op op = op_of(OP_CONCAT, in, n);
    op.u.axis.axis = axis;
    struct shape out = g->value[x[0]];
    for (int i = 1; i < n; i++) out.dim[axis] += g->value[x[i]].dim[axis];
    return add_op(g, &op, out);
}

int net_pool(struct opgraph *g, int x, enum pool kind, int height, int width, struct window_options o) {
    int64_t out[2];
    struct op op = op_of(OP_POOL, &x, 1);
    op.u.pool.kind = kind;
    op.u.pool.window = window_of(&g->value[x].dim[1], height, width, o, out);
    return add_op(g, &op, SHAPE(-1, out[0], out[1], g->value[x].dim[3]));
}

int net_reduce(struct opgraph *g, int x, enum reduce kind, unsigned axes, bool keepdims) {
    struct op op = op_of(OP_REDUCE, &x, 1);
    op.u.reduce.kind = kind;
    op.u.reduce.axes = axes;
    struct shape in = g->value[x], out = {.rank = 0};
    for (int i = 0; i < in.rank; i++) {
        if (!(axes >> i & 1)) out.dim[out.rank++] = in.dim[i];
        else if (keepdims) out.dim[out.rank++] = 1;
    }
    return add_op(g, &op, out);
}

int net_pad(struct opgraph *g, int x, const int *before, const int *after) {
    struct op op = op_of(OP_PAD, &x, 1);
    struct shape out = g->value[x];
    for (int i = 1; i < out.rank; i++) {
        op.u.pad.before[i] = before[i];
        op.u.pad.after[i] = after[i];
        out.dim[i] += before[i] + after[i];
    }
    return add_op(g, &op, out);
}

int net_slice(struct opgraph *g, int x, const int *start, const int *step, const int *n) {
    struct op op = op_of(OP_SLICE, &x, 1);
    struct shape out = g->value[x];
    op.u.slice.step[0] = 1;
    for (int i = 1; i < out.rank; i++) {
        op.u.slice.start[i] = start[i];
        op.u.slice.step[i] = step[i];
        out.dim[i] = n[i];
    }
    return add_op(g, &op, out);
}

int net_transpose(struct opgraph *g, int x, const int *axis) {
    struct op op = op_of(OP_TRANSPOSE, &x, 1);
    struct shape out = g->value[x];
    for (int i = 0; i < out.rank; i++) {
        op.u.transpose.axis[i] = axis[i];
        out.dim[i] = g->value[x].dim[axis[i]];
    }
    return add_op(g, &op, out);
}

int net_embedding(struct opgraph *g, int ids, int rows, int width) {
    struct op op = op_of(OP_EMBEDDING, &ids, 1);
    op.param[0] = add_param(g, SHAPE(rows, width), true);
    struct shape out = g->value[ids];
    out.dim[out.rank++] = width;
    return add_op(g, &op, out);
}

int net_resize(struct opgraph *g, int x, enum resize kind, int height, int width) {
    struct op op = op_of(OP_RESIZE, &x, 1);
    op.u.resize.kind = kind;
    struct shape out = g->value[x];
    out.dim[1] = height;
    out.dim[2] = width;
    return add_op(g, &op, out);
}

int net_affine(struct opgraph *g, int x, int n, const float *scale, const float *offset) {
    struct op op = op_of(OP_AFFINE, &x, 1);
    op.u.affine.n = n;
    op.u.affine.scale = malloc((size_t)n * sizeof *scale);
    op.u.affine.offset = malloc((size_t)n * sizeof *offset);
    assert_true(op.u.affine.scale && op.u.affine.offset);
    memcpy(op.u.affine.scale, scale, (size_t)n * sizeof *scale);
    memcpy(op.u.affine.offset, offset, (size_t)n * sizeof *offset);
    return add_op(g, &op, g->value[x]);
}

int net_reshape(struct opgraph *g, int x, struct shape shape) {
    struct op op = op_of(OP_RESHAPE, &x, 1);
    return add_op(g, &op, shape);
}

int net_dropout(struct opgraph *g, int x, float rate) {
    struct op op = op_of(OP_DROPOUT, &x, 1);
    op.u.dropout.rate = rate;
    return add_op(g, &op, g->value[x]);
}

int net_again(struct opgraph *g, int like, int x) {
    struct op op = g->op[opgraph_producer(g, like)];
    assert_int_equal(op.nin, 1);
    assert_int_not_equal(op.kind, OP_AFFINE);
    op.in = &x;
    return add_op(g, &op, g->value[like]);
}

void net_finish(struct opgraph *g, int noutputs, const int *outputs) {
    int inputs[8];
    assert_true(g->ninputs <= 8);
    memcpy(inputs, g->input, (size_t)g->ninputs * sizeof *inputs);
    must(opgraph_set_io(g, g->ninputs, inputs, noutputs, outputs));
}

float *random_floats(int64_t n, uint64_t seed) {
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    assert_non_null(x);
    struct rng rng = rng_make(seed, RNG_INIT, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (float)rng_normal(&rng);
    return x;
}

struct params *net_params(const struct opgraph *g, uint64_t seed) {
    struct params *params;
    must(params_create(g, &params));
    for (int p = 0; p < g->nparams; p++) {
        const struct shape *shape = &g->param[p].shape;
        float *x = random_floats(params->count[p], seed * 1000 + (uint64_t)p);
        double fan_in = 1;
        for (int i = 0; i + 1 < shape->rank; i++) fan_in *= (double)shape->dim[i];
        for (int i = 0; i < g->nops; i++)
            if (g->op[i].kind == OP_DEPTHWISE && g->op[i].param[0] == p)
                fan_in = (double)(shape->dim[0] * shape->dim[1]);
        for (int64_t i = 0; i < params->count[p]; i++) {
            x[i] *= shape->rank > 1 ? (float)(1 / sqrt(fan_in)) : 0.5f;
            params_at(params, p)[i] = x[i];
        }
        free(x);
    }
    for (int i = 0; i < g->nops; i++) {
        if (g->op[i].kind != OP_BATCH_NORM) continue;
        int variance = g->op[i].param[3], gamma = g->op[i].param[0];
        for (int64_t j = 0; j < params->count[variance]; j++) {
            float *v = params_at(params, variance) + j;
            *v = 0.5f + fabsf(*v);
            if (gamma >= 0) params_at(params, gamma)[j] += 1;
        }
    }
    return params;
}

int64_t net_count(const struct opgraph *g, int value, int64_t batch) {
    int64_t n = shape_sample_count(&g->value[value]);
    assert_true(n > 0);
    return n * batch;
}

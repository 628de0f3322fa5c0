#include "worker/reference.h"

#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *allocate(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    assert_non_null(p);
    return p;
}

static void to_double(const float *x, int64_t n, double *y) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
}

struct reference *reference_create(const struct opgraph *graph, int64_t batch, bool batch_statistics,
                                   const float *const *inputs, const struct params *params) {
    struct reference *r = allocate(1, sizeof *r);
    r->graph = graph;
    r->batch = batch;
    r->batch_statistics = batch_statistics;
    r->value = allocate((size_t)graph->nvalues, sizeof *r->value);
    r->param = allocate((size_t)graph->nparams, sizeof *r->param);
    for (int v = 0; v < graph->nvalues; v++)
        r->value[v] = allocate((size_t)net_count(graph, v, batch), sizeof(double));
    for (int i = 0; i < graph->ninputs; i++)
        to_double(inputs[i], net_count(graph, graph->input[i], batch), r->value[graph->input[i]]);
    for (int p = 0; p < graph->nparams; p++) {
        r->param[p] = allocate((size_t)params->count[p], sizeof(double));
        to_double(params_at(params, p), params->count[p], r->param[p]);
    }
    return r;
}

void reference_destroy(struct reference *r) {
    for (int v = 0; v < r->graph->nvalues; v++) free(r->value[v]);
    for (int p = 0; p < r->graph->nparams; p++) free(r->param[p]);
    free(r->value);
    free(r->param);
    free(r);
}

/* ---- places ---- */

static struct shape shape_of(const struct reference *r, int value) {
    struct shape shape = r->graph->value[value];
    shape.dim[0] = r->batch;
    return shape;
}

static int64_t count(const struct shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

/* Element number `at` as an index, and back. */
static void to_index(const struct shape *s, int64_t at, int64_t *index) {
    for (int i = s->rank - 1; i >= 0; i--) {
        index[i] = at % s->dim[i];
        at /= s->dim[i];
    }
}

static int64_t from_index(const struct shape *s, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < s->rank; i++) at = at * s->dim[i] + index[i];
    return at;
}

/* ---- operations ---- */

/* Element (n,y,x,c) of an image; 0 in the padding. */
static double pixel(const double *x, const struct shape *s, int64_t n, int64_t y, int64_t col, int64_t c) {
    if (y < 0 || y >= s->dim[1] || col < 0 || col >= s->dim[2]) return 0;
    return x[((n * s->dim[1] + y) * s->dim[2] + col) * s->dim[3] + c];
}

static double conv_element(const struct reference *r, const struct op *op, const struct shape *in,
                           const struct shape *out, const int64_t *o) {
    const struct window *w = &op->u.conv.window;
    const struct shape *k = &r->graph->param[op->param[0]].shape;
    const double *x = r->value[op->in[0]], *kernel = r->param[op->param[0]];
    const bool depthwise = op->kind == OP_DEPTHWISE;
    const int64_t filters = out->dim[3];
    double sum = op->param[1] >= 0 ? r->param[op->param[1]][o[3]] : 0;
    for (int ky = 0; ky < w->size[0]; ky++)
        for (int kx = 0; kx < w->size[1]; kx++) {
            int64_t y = o[1] * w->stride[0] - w->before[0] + ky * w->dilation[0];
            int64_t col = o[2] * w->stride[1] - w->before[1] + kx * w->dilation[1];
            if (depthwise) {
                int64_t c = o[3] / k->dim[3], j = o[3] % k->dim[3];
                sum += pixel(x, in, o[0], y, col, c) *
                       kernel[((ky * k->dim[1] + kx) * k->dim[2] + c) * k->dim[3] + j];
                continue;
            }
            int64_t first = o[3] / (filters / op->u.conv.groups) * k->dim[2];
            for (int64_t c = 0; c < k->dim[2]; c++)
                sum += pixel(x, in, o[0], y, col, first + c) *
                       kernel[((ky * k->dim[1] + kx) * k->dim[2] + c) * filters + o[3]];
        }
    return sum;
}

static double conv_transpose_element(const struct reference *r, const struct op *op, const struct shape *in,
                                     const int64_t *o) {
    const struct window *w = &op->u.conv.window;
    const struct shape *k = &r->graph->param[op->param[0]].shape;
    const double *kernel = r->param[op->param[0]];
    double sum = op->param[1] >= 0 ? r->param[op->param[1]][o[3]] : 0;
    for (int64_t ky = 0; ky < w->size[0]; ky++)
        for (int64_t kx = 0; kx < w->size[1]; kx++) {
            /* The input pixel at y*stride - before + ky*dilation = o[1], if there is one. */
            const int64_t y = o[1] + w->before[0] - ky * w->dilation[0];
            const int64_t col = o[2] + w->before[1] - kx * w->dilation[1];
            if (y % w->stride[0] || col % w->stride[1]) continue;
            for (int64_t c = 0; c < in->dim[3]; c++)
                sum += pixel(r->value[op->in[0]], in, o[0], y / w->stride[0], col / w->stride[1], c) *
                       kernel[((ky * k->dim[1] + kx) * k->dim[2] + o[3]) * k->dim[3] + c];
        }
    return sum;
}

static double dense_element(const struct reference *r, const struct op *op, const struct shape *in,
                            const struct shape *out, int64_t at) {
    int64_t k = in->dim[in->rank - 1], m = out->dim[out->rank - 1];
    double sum = op->param[1] >= 0 ? r->param[op->param[1]][at % m] : 0;
    for (int64_t i = 0; i < k; i++)
        sum += r->value[op->in[0]][at / m * k + i] * r->param[op->param[0]][i * m + at % m];
    return sum;
}

static void batch_norm(const struct reference *r, const struct op *op, const struct shape *in, double *y) {
    const double *x = r->value[op->in[0]];
    int64_t channels = in->dim[in->rank - 1], rows = count(in) / channels;
    for (int64_t c = 0; c < channels; c++) {
        double mean = r->param[op->param[2]][c], variance = r->param[op->param[3]][c];
        if (r->batch_statistics && !op->u.norm.fixed) {
            mean = variance = 0;
            for (int64_t i = 0; i < rows; i++) mean += x[i * channels + c] / (double)rows;
            for (int64_t i = 0; i < rows; i++) variance += pow(x[i * channels + c] - mean, 2) / (double)rows;
        }
        double gamma = op->param[0] >= 0 ? r->param[op->param[0]][c] : 1;
        double beta = op->param[1] >= 0 ? r->param[op->param[1]][c] : 0;
        for (int64_t i = 0; i < rows; i++)
            y[i * channels + c] =
                (x[i * channels + c] - mean) / sqrt(variance + (double)op->u.norm.epsilon) * gamma + beta;
    }
}

double reference_activation(const struct activation_function *f, double x) {
    const double alpha = f->alpha, beta = f->beta, gamma = f->gamma;
    const double selu_alpha = 1.6732632423543772848170429916717,
                 selu_scale = 1.0507009873554804934193349852946;
    switch (f->kind) {
    case ACTIVATION_LINEAR:
        return x;
    case ACTIVATION_RELU:
        return x >= beta ? beta : x > gamma ? x : alpha * (x - gamma);
    case ACTIVATION_SIGMOID:
        return 1 / (1 + exp(-x));
    case ACTIVATION_TANH:
        return tanh(x);
    case ACTIVATION_SOFTPLUS:
        return x > 30 ? x : log(1 + exp(x));
    case ACTIVATION_SOFTSIGN:
        return x / (1 + fabs(x));
    case ACTIVATION_ELU:
        return x > 0 ? x : alpha * (exp(x) - 1);
    case ACTIVATION_SELU:
        return selu_scale * (x > 0 ? x : selu_alpha * (exp(x) - 1));
    case ACTIVATION_EXPONENTIAL:
        return exp(x);
    case ACTIVATION_SILU:
        return x / (1 + exp(-x));
    case ACTIVATION_GELU:
        return x / 2 * (1 + erf(x / sqrt(2)));
    case ACTIVATION_GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3))));
    case ACTIVATION_HARD_SIGMOID:
        return fmax(0, fmin(1, alpha * x + beta));
    case ACTIVATION_HARD_SILU:
        return x * fmax(0, fmin(1, x / 6 + 0.5));
    case ACTIVATION_MISH:
        return x * tanh(log(1 + exp(x)));
    case ACTIVATION_CLIP:
        return fmin(beta, fmax(alpha, x));
    case ACTIVATION_LOG:
        return log(x);
    case ACTIVATION_RSQRT:
        return pow(fmax(x + beta, gamma), -0.5);
    case ACTIVATION_NOT_EQUAL:
        return x != gamma;
    }
    fail();
    return 0;
}

/* Causal: minus infinity where the column is after the row. */
static void softmax(const struct op *op, const struct shape *s, const double *x, double *y) {
    for (int64_t at = 0; at < count(s); at++) {
        int64_t index[SHAPE_MAX_RANK];
        double sum = 0;
        to_index(s, at, index);
        y[at] = 0;
        if (op->u.axis.causal && index[s->rank - 1] > index[s->rank - 2]) continue;
        for (int64_t i = 0; i < s->dim[op->u.axis.axis]; i++) {
            index[op->u.axis.axis] = i;
            if (op->u.axis.causal && i > index[s->rank - 2]) continue;
            sum += exp(x[from_index(s, index)] - x[at]);
        }
        y[at] = 1 / sum;
    }
}

/* Element of an input that is broadcast to an index of the output. */
static double broadcast(const double *x, const struct shape *s, const struct shape *out,
                        const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < s->rank; i++) {
        int64_t j = index[out->rank - s->rank + i];
        at = at * s->dim[i] + (s->dim[i] == 1 ? 0 : j);
    }
    return x[at];
}

static double binary(enum binary kind, double a, double b) {
    switch (kind) {
    case BINARY_ADD:
        return a + b;
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    case BINARY_DIV:
        return a / b;
    case BINARY_MAX:
        return fmax(a, b);
    case BINARY_MIN:
        return fmin(a, b);
    }
    fail();
    return 0;
}

static double concat_element(const struct reference *r, const struct op *op, const int64_t *index) {
    int64_t at[SHAPE_MAX_RANK];
    memcpy(at, index, sizeof at);
    for (int i = 0; i < op->nin; i++) {
        struct shape s = shape_of(r, op->in[i]);
        if (at[op->u.axis.axis] < s.dim[op->u.axis.axis]) return r->value[op->in[i]][from_index(&s, at)];
        at[op->u.axis.axis] -= s.dim[op->u.axis.axis];
    }
    fail();
    return 0;
}

static double pool_element(const struct op *op, const struct shape *in, const double *x, const int64_t *o) {
    const struct window *w = &op->u.pool.window;
    double max = -INFINITY, sum = 0;
    int n = 0;
    for (int ky = 0; ky < w->size[0]; ky++)
        for (int kx = 0; kx < w->size[1]; kx++) {
            int64_t y = o[1] * w->stride[0] - w->before[0] + ky * w->dilation[0];
            int64_t col = o[2] * w->stride[1] - w->before[1] + kx * w->dilation[1];
            if (y < 0 || y >= in->dim[1] || col < 0 || col >= in->dim[2]) continue;
            double v = pixel(x, in, o[0], y, col, o[3]);
            max = fmax(max, v);
            sum += v;
            n++;
        }
    return op->u.pool.kind == POOL_MAX ? max : sum / n;
}

static void reduce(const struct op *op, const struct shape *in, const double *x, int64_t n, double *y) {
    struct shape kept = *in;
    for (int i = 0; i < in->rank; i++)
        if (op->u.reduce.axes >> i & 1) kept.dim[i] = 1;
    assert_int_equal(count(&kept), n);
    for (int64_t i = 0; i < n; i++) y[i] = op->u.reduce.kind == REDUCE_MAX ? -INFINITY : 0;
    for (int64_t at = 0; at < count(in); at++) {
        int64_t index[SHAPE_MAX_RANK];
        to_index(in, at, index);
        for (int i = 0; i < in->rank; i++)
            if (op->u.reduce.axes >> i & 1) index[i] = 0;
        double *to = &y[from_index(&kept, index)];
        if (op->u.reduce.kind == REDUCE_MAX) *to = fmax(*to, x[at]);
        else if (op->u.reduce.kind == REDUCE_SUM) *to += x[at];
        else *to += x[at] * (double)n / (double)count(in);
    }
}

static double pad_element(const struct op *op, const struct shape *in, const double *x, const int64_t *o) {
    int64_t index[SHAPE_MAX_RANK];
    for (int i = 0; i < in->rank; i++) {
        index[i] = o[i] - (i ? op->u.pad.before[i] : 0);
        if (index[i] < 0 || index[i] >= in->dim[i]) return 0;
    }
    return x[from_index(in, index)];
}

/* Bilinear: the input as a continuous image with pixel centres at halves, its edges continued. */
static double resize_element(const struct op *op, const struct shape *in, const struct shape *out,
                             const double *x, const int64_t *o) {
    double at[2], sum = 0;
    for (int i = 0; i < 2; i++)
        at[i] = ((double)o[i + 1] + 0.5) * (double)in->dim[i + 1] / (double)out->dim[i + 1];
    if (op->u.resize.kind == RESIZE_NEAREST) return pixel(x, in, o[0], (int64_t)at[0], (int64_t)at[1], o[3]);
    for (int i = 0; i < 2; i++) at[i] = fmax(0, fmin((double)(in->dim[i + 1] - 1), at[i] - 0.5));
    for (int64_t y = 0; y < in->dim[1]; y++)
        for (int64_t col = 0; col < in->dim[2]; col++)
            sum += fmax(0, 1 - fabs(at[0] - (double)y)) * fmax(0, 1 - fabs(at[1] - (double)col)) *
                   pixel(x, in, o[0], y, col, o[3]);
    return sum;
}

static double prelu_element(const struct reference *r, const struct op *op, const struct shape *out,
                            const int64_t *index, double x) {
    struct shape alpha = r->graph->param[op->param[0]].shape;
    return x > 0 ? x : x * broadcast(r->param[op->param[0]], &alpha, out, index);
}

static double scale_element(const struct reference *r, const struct op *op, int64_t channel, double x) {
    double gamma = op->param[0] >= 0 ? r->param[op->param[0]][channel] : 1;
    double beta = op->param[1] >= 0 ? r->param[op->param[1]][channel] : 0;
    return x * gamma + beta;
}

static void layer_norm(const struct reference *r, const struct op *op, const struct shape *s, double *y) {
    const double *x = r->value[op->in[0]];
    struct shape groups = *s, inside = *s; /* the other axes, and those that are normalized */
    for (int i = 0; i < s->rank; i++) *(op->u.norm.axes >> i & 1 ? &groups.dim[i] : &inside.dim[i]) = 1;
    const int64_t ngroups = count(&groups), size = count(&inside);
    for (int64_t group = 0; group < ngroups; group++) {
        double mean = 0, variance = 0;
        int64_t *at = allocate((size_t)size, sizeof *at), a[SHAPE_MAX_RANK], b[SHAPE_MAX_RANK];
        to_index(&groups, group, a);
        for (int64_t i = 0; i < size; i++) {
            to_index(&inside, i, b);
            for (int k = 0; k < s->rank; k++) b[k] += a[k];
            at[i] = from_index(s, b);
        }
        for (int64_t i = 0; i < size; i++) mean += x[at[i]] / (double)size;
        for (int64_t i = 0; i < size; i++) variance += pow(x[at[i]] - mean, 2) / (double)size;
        for (int64_t i = 0; i < size; i++)
            y[at[i]] =
                scale_element(r, op, i, (x[at[i]] - mean) / sqrt(variance + (double)op->u.norm.epsilon));
        free(at);
    }
}

static double matmul_element(const struct reference *r, const struct op *op, const struct shape *a,
                             const int64_t *o) {
    const struct shape b = shape_of(r, op->in[1]);
    const int rank = a->rank, ta = op->u.matmul.transpose_a, tb = op->u.matmul.transpose_b;
    int64_t ia[SHAPE_MAX_RANK], ib[SHAPE_MAX_RANK];
    double sum = 0;
    memcpy(ia, o, sizeof ia);
    memcpy(ib, o, sizeof ib);
    for (int64_t k = 0; k < a->dim[rank - 1 - ta]; k++) {
        ia[rank - 2 + ta] = o[rank - 2];
        ia[rank - 1 - ta] = k;
        ib[rank - 2 + tb] = k;
        ib[rank - 1 - tb] = o[rank - 1];
        sum += r->value[op->in[0]][from_index(a, ia)] * r->value[op->in[1]][from_index(&b, ib)];
    }
    return sum * (double)op->u.matmul.scale;
}

static double slice_element(const struct op *op, const struct shape *in, const double *x, const int64_t *o) {
    int64_t index[SHAPE_MAX_RANK];
    for (int i = 0; i < in->rank; i++) index[i] = op->u.slice.start[i] + o[i] * op->u.slice.step[i];
    return x[from_index(in, index)];
}

static double transpose_element(const struct op *op, const struct shape *in, const double *x,
                                const int64_t *o) {
    int64_t index[SHAPE_MAX_RANK];
    for (int i = 0; i < in->rank; i++) index[op->u.transpose.axis[i]] = o[i];
    return x[from_index(in, index)];
}

/* The nearest whole number, so that differences by the ids are zero. */
static double embedding_element(const struct reference *r, const struct op *op, int64_t at) {
    const int64_t width = r->graph->param[op->param[0]].shape.dim[1];
    const int64_t id = llround(r->value[op->in[0]][at / width]);
    return r->param[op->param[0]][id * width + at % width];
}

static double element(const struct reference *r, const struct op *op, const struct shape *in,
                      const struct shape *out, int64_t at) {
    const double *x = r->value[op->in[0]];
    int64_t index[SHAPE_MAX_RANK];
    to_index(out, at, index);
    switch (op->kind) {
    case OP_CONV:
    case OP_DEPTHWISE:
        return conv_element(r, op, in, out, index);
    case OP_CONV_TRANSPOSE:
        return conv_transpose_element(r, op, in, index);
    case OP_DENSE:
        return dense_element(r, op, in, out, at);
    case OP_ACTIVATION:
        return reference_activation(&op->u.act, x[at]);
    case OP_BINARY: {
        struct shape second = shape_of(r, op->in[1]);
        return binary(op->u.binary.kind, broadcast(x, in, out, index),
                      broadcast(r->value[op->in[1]], &second, out, index));
    }
    case OP_CONCAT:
        return concat_element(r, op, index);
    case OP_POOL:
        return pool_element(op, in, x, index);
    case OP_PAD:
        return pad_element(op, in, x, index);
    case OP_RESIZE:
        return resize_element(op, in, out, x, index);
    case OP_AFFINE: {
        int64_t c = op->u.affine.n == 1 ? 0 : index[out->rank - 1];
        return x[at] * (double)op->u.affine.scale[c] + (double)op->u.affine.offset[c];
    }
    case OP_RESHAPE:
    case OP_DROPOUT:
        return x[at];
    case OP_PRELU:
        return prelu_element(r, op, out, index, x[at]);
    case OP_SCALE:
        return scale_element(r, op, index[out->rank - 1], x[at]);
    case OP_MATMUL:
        return matmul_element(r, op, in, index);
    case OP_SLICE:
        return slice_element(op, in, x, index);
    case OP_TRANSPOSE:
        return transpose_element(op, in, x, index);
    case OP_EMBEDDING:
        return embedding_element(r, op, at);
    case OP_BATCH_NORM:
    case OP_LAYER_NORM:
    case OP_SOFTMAX:
    case OP_REDUCE:
        break;
    default: /* not known yet */
        break;
    }
    fail();
    return 0;
}

void reference_forward(struct reference *r) {
    reference_forward_from(r, 0);
}

void reference_forward_from(struct reference *r, int first) {
    for (int i = first; i < r->graph->nops; i++) {
        const struct op *op = &r->graph->op[i];
        struct shape in = shape_of(r, op->in[0]), out = shape_of(r, op->out);
        const double *x = r->value[op->in[0]];
        double *y = r->value[op->out];
        switch (op->kind) {
        case OP_BATCH_NORM:
            batch_norm(r, op, &in, y);
            break;
        case OP_LAYER_NORM:
            layer_norm(r, op, &in, y);
            break;
        case OP_SOFTMAX:
            softmax(op, &in, x, y);
            break;
        case OP_RECURRENT:
            reference_recurrent(r, op);
            break;
        case OP_REDUCE:
            reduce(op, &in, x, count(&out), y);
            break;
        default:
            for (int64_t at = 0, n = count(&out); at < n; at++) y[at] = element(r, op, &in, &out, at);
        }
    }
}

double reference_loss(struct reference *r, const float *const *weights) {
    double sum = 0;
    for (int i = 0; i < r->graph->noutputs; i++) {
        int v = r->graph->output[i];
        const int64_t n = net_count(r->graph, v, r->batch);
        for (int64_t j = 0; j < n; j++) sum += (double)weights[i][j] * r->value[v][j];
    }
    return sum;
}

static double loss_with(struct reference *r, const float *const *weights, double *x, double value,
                        int first) {
    const double before = *x;
    *x = value;
    reference_forward_from(r, first);
    const double loss = reference_loss(r, weights); /* before x is put back: an input may be an output */
    *x = before;
    return loss;
}

void reference_derivatives(struct reference *r, const float *const *weights, double *x, int first, int n,
                           const int64_t *at, double *derivative) {
    const double h = 1e-5, loss = reference_loss(r, weights);
    for (int i = 0; i < n; i++) {
        double *element_x = &x[at[i]];
        double left = (loss - loss_with(r, weights, element_x, *element_x - h, first)) / h;
        double right = (loss_with(r, weights, element_x, *element_x + h, first) - loss) / h;
        /* Both sides of a smooth function differ by h times the second derivative, of a kink by its change of
         * slope. */
        bool kink = fabs(left - right) > 1e-4 * (fabs(left) + fabs(right)) + 1e-4;
        derivative[i] = kink ? NAN : (left + right) / 2;
    }
    reference_forward_from(r, first);
}

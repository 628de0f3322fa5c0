#include "shared/op.h"

#include <stdlib.h>
#include <string.h>

const char *op_name(enum op_kind kind) {
    switch (kind) {
#define OP_CASE(name, text, inputs, params)                                                                  \
    case OP_##name:                                                                                          \
        return text;
        OP_KINDS(OP_CASE)
#undef OP_CASE
    }
    return "?";
}

const char *activation_name(enum activation kind) {
    switch (kind) {
#define ACTIVATION_CASE(name, text)                                                                          \
    case ACTIVATION_##name:                                                                                  \
        return text;
        ACTIVATIONS(ACTIVATION_CASE)
#undef ACTIVATION_CASE
    }
    return "?";
}

static const char *const precisions[] = {
#define PRECISION_NAME(name, text) text,
    PRECISIONS(PRECISION_NAME)
#undef PRECISION_NAME
};

const char *precision_name(enum precision precision) {
    return precisions[precision];
}

bool precision_find(const char *name, enum precision *precision) {
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++)
        if (!strcmp(name, precisions[i])) {
            *precision = (enum precision)i;
            return true;
        }
    return false;
}

status opgraph_create(struct opgraph **graph) {
    struct opgraph *g = calloc(1, sizeof *g);
    if (!g) return status_no_memory("an operation graph", sizeof *g);
    *graph = g;
    return SUCCESS;
}

static void op_clear(struct op *op) {
    free(op->in);
    if (op->kind == OP_AFFINE) {
        free(op->u.affine.scale);
        free(op->u.affine.offset);
    }
}

void opgraph_destroy(struct opgraph **graph) {
    struct opgraph *g = *graph;
    if (!g) return;
    for (int i = 0; i < g->nops; i++) op_clear(&g->op[i]);
    free(g->op);
    free(g->value);
    free(g->param);
    free(g->input);
    free(g->output);
    free(g);
    *graph = NULL;
}

/* Room for one more element; arrays grow by doubling at powers of two. */
static status grow(void **array, int n, size_t size) {
    if (n & (n - 1)) return SUCCESS;
    size_t capacity = n ? (size_t)n * 2 : 1;
    void *p = realloc(*array, capacity * size);
    if (!p) return status_no_memory("an operation graph", capacity * size);
    *array = p;
    return SUCCESS;
}

status opgraph_add_value(struct opgraph *graph, const struct shape *shape, int *value) {
    STATUS_TRY(grow((void **)&graph->value, graph->nvalues, sizeof *graph->value));
    graph->value[graph->nvalues] = *shape;
    *value = graph->nvalues++;
    return SUCCESS;
}

status opgraph_add_param(struct opgraph *graph, const struct param *param, int *index) {
    STATUS_TRY(grow((void **)&graph->param, graph->nparams, sizeof *graph->param));
    graph->param[graph->nparams] = *param;
    STATUS_TRY(shape_count(&param->shape, &graph->param[graph->nparams].count));
    *index = graph->nparams++;
    return SUCCESS;
}

/* Appends a copy of the operation, its output included. */
static status append_op(struct opgraph *graph, const struct op *op) {
    STATUS_TRY(grow((void **)&graph->op, graph->nops, sizeof *graph->op));
    struct op *copy = &graph->op[graph->nops];
    *copy = *op;
    copy->in = malloc((size_t)op->nin * sizeof *copy->in);
    if (!copy->in) return status_no_memory("an operation", (size_t)op->nin * sizeof *copy->in);
    memcpy(copy->in, op->in, (size_t)op->nin * sizeof *copy->in);
    graph->nops++;
    return SUCCESS;
}

status opgraph_add_op(struct opgraph *graph, const struct op *op, const struct shape *shape, int *value) {
    STATUS_TRY(append_op(graph, op));
    STATUS_TRY(opgraph_add_value(graph, shape, &graph->op[graph->nops - 1].out));
    *value = graph->op[graph->nops - 1].out;
    return SUCCESS;
}

static status copy_ints(const int *from, int n, int **to) {
    int *p = malloc((size_t)(n ? n : 1) * sizeof *p);
    if (!p) return status_no_memory("an operation graph", (size_t)n * sizeof *p);
    memcpy(p, from, (size_t)n * sizeof *p);
    free(*to);
    *to = p;
    return SUCCESS;
}

status opgraph_set_io(struct opgraph *graph, int ninputs, const int *inputs, int noutputs,
                      const int *outputs) {
    STATUS_TRY(copy_ints(inputs, ninputs, &graph->input));
    graph->ninputs = ninputs;
    STATUS_TRY(copy_ints(outputs, noutputs, &graph->output));
    graph->noutputs = noutputs;
    return SUCCESS;
}

bool opgraph_same(const struct opgraph *a, const struct opgraph *b) {
    bool same = a->nvalues == b->nvalues && a->nops == b->nops;
    for (int i = 0; i < a->nops && same; i++) {
        const struct op *p = &a->op[i], *q = &b->op[i];
        same = p->kind == q->kind && p->node == q->node && p->out == q->out && p->nin == q->nin;
        for (int k = 0; k < p->nin && same; k++) same = p->in[k] == q->in[k];
    }
    return same;
}

int opgraph_producer(const struct opgraph *graph, int value) {
    for (int i = graph->nops - 1; i >= 0; i--)
        if (graph->op[i].out == value) return i;
    return -1;
}

int opgraph_only_reader(const struct opgraph *graph, int value) {
    int reader = -1, readers = 0;
    for (int i = 0; i < graph->nops; i++)
        for (int j = 0; j < graph->op[i].nin; j++)
            if (graph->op[i].in[j] == value) {
                reader = i;
                readers++;
            }
    return readers == 1 ? reader : -1;
}

int opgraph_before_softmax(const struct opgraph *graph, int value) {
    int i = opgraph_producer(graph, value);
    if (i < 0 || graph->op[i].kind != OP_SOFTMAX || graph->op[i].u.axis.causal ||
        graph->op[i].u.axis.axis != graph->value[value].rank - 1)
        return value;
    return graph->op[i].in[0];
}

static status copy_floats(const float *from, int n, float **to) {
    *to = malloc((size_t)n * sizeof **to);
    if (!*to) return status_no_memory("constants", (size_t)n * sizeof **to);
    memcpy(*to, from, (size_t)n * sizeof **to);
    return SUCCESS;
}

/* Copies one operation into the cut, with constants of its own. */
static status cut_op(struct opgraph *cut, const struct op *op) {
    struct op copy = *op;
    if (op->kind != OP_AFFINE) return append_op(cut, op);
    copy.u.affine.scale = copy.u.affine.offset = NULL;
    status error = copy_floats(op->u.affine.scale, op->u.affine.n, &copy.u.affine.scale);
    if (!error) error = copy_floats(op->u.affine.offset, op->u.affine.n, &copy.u.affine.offset);
    if (!error) error = append_op(cut, &copy);
    if (error) {
        free(copy.u.affine.scale);
        free(copy.u.affine.offset);
    }
    return error;
}

status opgraph_cut(const struct opgraph *graph, int ninputs, const int *inputs, int noutputs,
                   const int *outputs, struct opgraph **cut) {
    struct opgraph *g = NULL;
    status error = SUCCESS;
    bool *given = calloc((size_t)graph->nvalues + 1, 1);
    bool *needed = calloc((size_t)graph->nvalues + 1, 1);
    if (!given || !needed) {
        error = status_no_memory("an operation graph", (size_t)graph->nvalues);
        goto done;
    }
    STATUS_GOTO(error, done, opgraph_create(&g));
    for (int i = 0; i < graph->nvalues; i++) {
        int index;
        STATUS_GOTO(error, done, opgraph_add_value(g, &graph->value[i], &index));
    }
    for (int i = 0; i < graph->nparams; i++) {
        int index;
        STATUS_GOTO(error, done, opgraph_add_param(g, &graph->param[i], &index));
    }
    STATUS_GOTO(error, done, opgraph_set_io(g, ninputs, inputs, noutputs, outputs));

    for (int i = 0; i < ninputs; i++) given[inputs[i]] = true;
    for (int i = 0; i < noutputs; i++) needed[outputs[i]] = !given[outputs[i]];
    for (int i = graph->nops - 1; i >= 0; i--) {
        const struct op *op = &graph->op[i];
        if (!needed[op->out]) continue;
        for (int j = 0; j < op->nin; j++)
            if (!given[op->in[j]]) needed[op->in[j]] = true;
    }
    for (int i = 0; i < graph->nops; i++) {
        const struct op *op = &graph->op[i];
        if (!needed[op->out]) continue;
        STATUS_GOTO(error, done, cut_op(g, op));
        needed[op->out] = false;
    }
    for (int i = 0; i < graph->nvalues; i++)
        if (needed[i]) {
            error =
                status_fail(STATUS_INTERNAL,
                            "value %d of the operation graph cannot be computed from the given inputs", i);
            goto done;
        }
    *cut = g;
    g = NULL;
done:
    opgraph_destroy(&g);
    free(given);
    free(needed);
    return error;
}

void opgraph_mark_params(const struct opgraph *graph, bool *used) {
    for (int i = 0; i < graph->nops; i++)
        for (int j = 0; j < 4; j++)
            if (graph->op[i].param[j] >= 0) used[graph->op[i].param[j]] = true;
}

double op_flops(const struct opgraph *graph, const struct op *op) {
    const struct shape *out = &graph->value[op->out];
    const struct shape *in = &graph->value[op->in[0]];
    double outputs = (double)shape_sample_count(out), inputs = (double)shape_sample_count(in);
    if (outputs < 0 || inputs < 0) return -1;
    switch (op->kind) {
    case OP_CONV:
    case OP_DEPTHWISE: {
        const struct shape *kernel = &graph->param[op->param[0]].shape;
        double taps = (double)(kernel->dim[0] * kernel->dim[1]);
        double per_output = 2 * taps * (op->kind == OP_CONV ? (double)kernel->dim[2] : 1);
        return outputs * (per_output + (op->param[1] >= 0));
    }
    case OP_CONV_TRANSPOSE: {
        const struct shape *kernel = &graph->param[op->param[0]].shape;
        return 2 * inputs * (double)(kernel->dim[0] * kernel->dim[1] * kernel->dim[2]) +
               (op->param[1] >= 0 ? outputs : 0);
    }
    case OP_MATMUL:
        return 2 * outputs * (double)in->dim[in->rank - (op->u.matmul.transpose_a ? 2 : 1)];
    case OP_RECURRENT: {
        /* Two products a step, and about ten operations a unit and gate for the rest. */
        const struct shape *kernel = &graph->param[op->param[0]].shape;
        const struct shape *recurrent = &graph->param[op->param[1]].shape;
        double steps = (double)in->dim[1], gates = (double)kernel->dim[1];
        return steps * gates * (2 * (double)(kernel->dim[0] + recurrent->dim[0]) + 10);
    }
    case OP_DENSE:
        return outputs * (2 * (double)in->dim[in->rank - 1] + (op->param[1] >= 0));
    case OP_BATCH_NORM:
    case OP_AFFINE:
    case OP_SCALE:
    case OP_PRELU:
        return 2 * outputs;
    case OP_LAYER_NORM:
        return 7 * outputs;
    case OP_SOFTMAX:
        return 3 * outputs;
    case OP_ACTIVATION:
    case OP_BINARY:
        return outputs;
    case OP_POOL:
        return outputs * op->u.pool.window.size[0] * op->u.pool.window.size[1];
    case OP_REDUCE:
        return inputs;
    case OP_RESIZE:
        return op->u.resize.kind == RESIZE_BILINEAR ? 7 * outputs : 0;
    case OP_CONCAT:
    case OP_PAD:
    case OP_SLICE:
    case OP_TRANSPOSE:
    case OP_EMBEDDING:
    case OP_RESHAPE:
    case OP_DROPOUT:
        return 0;
    }
    return 0;
}

double opgraph_flops(const struct opgraph *graph) {
    double sum = 0;
    for (int i = 0; i < graph->nops; i++) {
        double flops = op_flops(graph, &graph->op[i]);
        if (flops < 0) return -1;
        sum += flops;
    }
    return sum;
}

void window_pad_same(struct window *window, const int64_t in[2]) {
    for (int i = 0; i < 2; i++) {
        int64_t out = (in[i] + window->stride[i] - 1) / window->stride[i];
        int64_t span = (int64_t)(window->size[i] - 1) * window->dilation[i] + 1;
        int64_t total = (out - 1) * window->stride[i] + span - in[i];
        if (total < 0) total = 0;
        window->before[i] = (int)(total / 2);
        window->after[i] = (int)(total - total / 2);
    }
}

void window_output(const struct window *window, const int64_t in[2], int64_t out[2]) {
    for (int i = 0; i < 2; i++) {
        int64_t span = (int64_t)(window->size[i] - 1) * window->dilation[i] + 1;
        int64_t room = in[i] + window->before[i] + window->after[i] - span;
        out[i] = room < 0 ? 0 : room / window->stride[i] + 1;
    }
}

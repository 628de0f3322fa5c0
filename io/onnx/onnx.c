#include "io/onnx/onnx.h"

#include "io/onnx/emit.h"

#include <stdlib.h>

static const char *layer_of(const struct onnx_export *e, const struct op *op) {
    return e->graph->layer[e->graph->node[op->node].layer].name;
}

status onnx_refuse(const struct onnx_export *e, const struct op *op, const char *what) {
    return status_fail(STATUS_UNSUPPORTED, "layer \"%s\" (operation %s): ONNX has no operator for %s",
                       layer_of(e, op), op_name(op->kind), what);
}

status onnx_refuse_unknown(const struct onnx_export *e, const struct op *op) {
    return status_fail(STATUS_UNSUPPORTED,
                       "layer \"%s\" (operation %s) depends on dimensions of the model's inputs that are not "
                       "known; give them with --shape, such as --shape 224,224,3",
                       layer_of(e, op), op_name(op->kind));
}

static status emit(struct onnx_export *e, const struct op *op) {
    switch (op->kind) {
    case OP_CONV:
    case OP_DEPTHWISE:
        return onnx_emit_conv(e, op);
    case OP_CONV_TRANSPOSE:
        return onnx_emit_conv_transpose(e, op);
    case OP_DENSE:
        return onnx_emit_dense(e, op);
    case OP_BATCH_NORM:
        return onnx_emit_batch_norm(e, op);
    case OP_ACTIVATION:
        return onnx_emit_activation(e, op);
    case OP_PRELU:
        return onnx_emit_prelu(e, op);
    case OP_SCALE:
        return onnx_emit_scale(e, op);
    case OP_LAYER_NORM:
        return onnx_emit_layer_norm(e, op);
    case OP_SOFTMAX:
        return onnx_emit_softmax(e, op);
    case OP_BINARY:
        return onnx_emit_binary(e, op);
    case OP_MATMUL:
        return onnx_emit_matmul(e, op);
    case OP_CONCAT:
        return onnx_emit_concat(e, op);
    case OP_POOL:
        return onnx_emit_pool(e, op);
    case OP_REDUCE:
        return onnx_emit_reduce(e, op);
    case OP_PAD:
        return onnx_emit_pad(e, op);
    case OP_SLICE:
        return onnx_emit_slice(e, op);
    case OP_TRANSPOSE:
        return onnx_emit_transpose(e, op);
    case OP_RESIZE:
        return onnx_emit_resize(e, op);
    case OP_AFFINE:
        return onnx_emit_affine(e, op);
    case OP_RESHAPE:
        return onnx_emit_reshape(e, op);
    case OP_EMBEDDING:
        return onnx_emit_embedding(e, op);
    case OP_RECURRENT:
        return onnx_emit_recurrent(e, op);
    case OP_DROPOUT:
        return onnx_emit_identity(e, op);
    }
    return status_fail(STATUS_INTERNAL, "an operation of kind %d is not known", (int)op->kind);
}

static const char *end_name(const struct graph *graph, const struct edge *edge) {
    return graph->layer[graph->node[edge->node].layer].name;
}

static status emit_all(struct onnx_export *e) {
    const struct opgraph *ops = e->ops;
    for (int i = 0; i < ops->ninputs; i++)
        onnx_set(
            e, ops->input[i], LAYOUT_LAST,
            onnx_graph_input(e->onnx, end_name(e->graph, &e->graph->input[i]), &ops->value[ops->input[i]]));
    for (int i = 0; i < ops->nops; i++) {
        const int out = ops->op[i].out;
        if (onnx_has(e, out, LAYOUT_LAST) || onnx_has(e, out, LAYOUT_FIRST))
            continue; /* made with what it reads */
        onnx_graph_scope(e->onnx, layer_of(e, &ops->op[i]));
        STATUS_TRY(emit(e, &ops->op[i]));
    }
    /* Values change their names when they become outputs: what outputs need is made before. */
    for (int i = 0; i < ops->noutputs; i++) {
        onnx_graph_scope(e->onnx, end_name(e->graph, &e->graph->output[i]));
        onnx_in(e, ops->output[i], LAYOUT_LAST);
    }
    for (int i = 0; i < ops->noutputs; i++) {
        const char *name = end_name(e->graph, &e->graph->output[i]);
        onnx_graph_scope(e->onnx, name);
        onnx_graph_output(e->onnx, onnx_in(e, ops->output[i], LAYOUT_LAST), name,
                          &ops->value[ops->output[i]]);
    }
    return SUCCESS;
}

static status export_create(const struct model *model, struct opgraph *needed, struct onnx_export *e) {
    const size_t nvalues = (size_t)needed->nvalues + 1, nparams = (size_t)needed->nparams + 1;
    *e = (struct onnx_export){.graph = model->graph,
                              .ops = needed,
                              .params = model->params,
                              .value = calloc(nvalues, sizeof *e->value),
                              .constant = calloc(nparams, sizeof *e->constant),
                              .constant_form = calloc(nparams, sizeof *e->constant_form)};
    if (!e->value || !e->constant || !e->constant_form)
        return status_no_memory("an ONNX graph", nvalues * sizeof *e->value);
    return onnx_graph_create(model->graph->name, &e->onnx);
}

status onnx_write_parts(const char *path, const struct model *model, int64_t inline_max) {
    const struct opgraph *ops = model->ops;
    struct onnx_export e = {0};
    struct opgraph *needed = NULL;
    status error = opgraph_cut(ops, ops->ninputs, ops->input, ops->noutputs, ops->output, &needed);
    if (!error) error = export_create(model, needed, &e);
    if (!error) error = emit_all(&e);
    if (!error && model->preprocessing)
        onnx_graph_metadata(e.onnx, "godwit_preprocessing", model->preprocessing);
    if (!error) error = onnx_graph_write(e.onnx, path, inline_max);
    onnx_graph_destroy(&e.onnx);
    free(e.value);
    free(e.constant);
    free(e.constant_form);
    opgraph_destroy(&needed);
    return error;
}

status onnx_write(const char *path, const struct model *model) {
    return onnx_write_parts(path, model, ONNX_INLINE_MAX);
}

status onnx_readers(const struct graph *graph, const char **text) {
    (void)graph;
    *text = "ONNX Runtime";
    return SUCCESS;
}

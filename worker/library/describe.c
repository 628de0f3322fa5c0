/* What a model takes and gives. */
#include "worker/library/opened.h"

#include <stdlib.h>

static const char *node_name(const struct graph *graph, const struct edge *edge, int n, int i) {
    return i >= 0 && i < n ? graph->layer[graph->node[edge[i].node].layer].name : NULL;
}

int godwit_input_count(const godwit_model *model) {
    return model->model->ops->ninputs;
}

int godwit_output_count(const godwit_model *model) {
    return model->model->ops->noutputs;
}

const char *godwit_input_name(const godwit_model *model, int input) {
    const struct graph *graph = model->model->graph;
    return node_name(graph, graph->input, graph->ninputs, input);
}

const char *godwit_output_name(const godwit_model *model, int output) {
    const struct graph *graph = model->model->graph;
    return node_name(graph, graph->output, graph->noutputs, output);
}

int godwit_input_shape(const godwit_model *model, int input, godwit_shape *shape) {
    const struct opgraph *ops = model->model->ops;
    if (input < 0 || input >= ops->ninputs || !shape) return GODWIT_USAGE;
    opened_sample(&ops->value[ops->input[input]], shape);
    return GODWIT_OK;
}

int godwit_output_shape(const godwit_model *model, int output, godwit_shape *shape) {
    const struct opgraph *ops = model->model->ops;
    if (output < 0 || output >= ops->noutputs || !shape) return GODWIT_USAGE;
    opened_sample(&ops->value[ops->output[output]], shape);
    return GODWIT_OK;
}

static status output_shapes(godwit_model *model, const godwit_shape *inputs, godwit_shape *outputs) {
    STATUS_TRY(opened_need(model, "the model"));
    STATUS_TRY(opened_need(inputs, "the list of shapes"));
    STATUS_TRY(opened_need(outputs, "where the shapes go"));
    const int nin = model->model->ops->ninputs, nout = model->model->ops->noutputs;
    struct shape *in = calloc((size_t)nin + 1, sizeof *in), *out = calloc((size_t)nout + 1, sizeof *out);
    status error = in && out ? SUCCESS : status_no_memory("shapes", (size_t)(nin + nout) * sizeof *in);
    for (int i = 0; i < nin && !error; i++) error = opened_shape(&inputs[i], &in[i]);
    if (!error) error = predictor_outputs(model->predictor, in, out);
    for (int i = 0; i < nout && !error; i++) opened_sample(&out[i], &outputs[i]);
    free(in);
    free(out);
    return error;
}

int godwit_output_shapes(godwit_model *model, const godwit_shape *inputs, godwit_shape *outputs,
                         godwit_error *error) {
    return opened_report(output_shapes(model, inputs, outputs), error);
}

int64_t godwit_shape_count(const godwit_shape *shape) {
    int64_t count = 1;
    for (int i = 0; i < shape->rank && i < GODWIT_RANK_MAX; i++)
        if (shape->dim[i] < 0 || __builtin_mul_overflow(count, shape->dim[i], &count)) return -1;
    return count;
}

int godwit_label_count(const godwit_model *model) {
    return model->preprocessing->nlabels;
}

const char *godwit_label(const godwit_model *model, int label) {
    return label >= 0 && label < model->preprocessing->nlabels ? model->preprocessing->label[label] : NULL;
}

int godwit_preprocessing(const godwit_model *model, double *scale, double *offset) {
    if (scale) *scale = model->preprocessing->scale;
    if (offset) *offset = model->preprocessing->offset;
    return model->model->preprocessing != NULL;
}

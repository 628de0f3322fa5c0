#include "io/model.h"
#include "io/keras.h"

#include <stdlib.h>

void model_destroy(struct model **model) {
    struct model *m = *model;
    if (!m) return;
    graph_destroy(&m->graph);
    opgraph_destroy(&m->ops);
    params_destroy(&m->params);
    free(m->value_of);
    free(m->preprocessing);
    free(m);
    *model = NULL;
}

status model_outline(struct graph *graph, struct model **model) {
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        graph_destroy(&graph);
        return status_no_memory("a model", sizeof *m);
    }
    m->graph = graph;
    status error = graph_lower(graph, &m->ops, &m->value_of);
    if (error) model_destroy(&m);
    *model = m;
    return error;
}

status model_create(struct graph *graph, struct model **model) {
    STATUS_TRY(model_outline(graph, model));
    status error = params_create((*model)->ops, &(*model)->params);
    if (error) model_destroy(model);
    return error;
}

status model_create_shared(struct graph *graph, const struct comm *node, struct model **model) {
    struct model *m = NULL;
    status error = comm_agree(node, model_outline(graph, &m));
    if (!error) error = params_create_shared(m->ops, node, &m->params);
    if (error) model_destroy(&m);
    *model = m;
    return error;
}

status model_read(const char *path, const struct keras_options *options, struct model **model) {
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct model *m = NULL;
    STATUS_TRY(keras_open(path, options, &file, &graph));
    status error = model_create(graph, &m);
    if (!error) error = keras_read_params(file, m->params);
    if (!error) error = keras_read_preprocessing(file, &m->preprocessing);
    keras_close(&file);
    if (error) {
        model_destroy(&m);
        return error;
    }
    *model = m;
    return SUCCESS;
}

static const char *input_name(const struct model *model, int i) {
    const struct graph *graph = model->graph;
    return graph->layer[graph->node[graph->input[i].node].layer].name;
}

/* Does a shape fit what input i takes? *same: it is what the input has. */
static status check_input(const struct model *model, int i, const struct shape *shape, bool *same) {
    const struct shape *taken = &model->ops->value[model->ops->input[i]];
    bool fits = shape->rank == taken->rank;
    *same = true;
    for (int k = 1; k < shape->rank && fits; k++) {
        fits = shape->dim[k] > 0 && (taken->dim[k] == SHAPE_UNKNOWN || taken->dim[k] == shape->dim[k]);
        *same = *same && taken->dim[k] == shape->dim[k];
    }
    if (fits) return SUCCESS;
    char takes[SHAPE_TEXT_MAX], given[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "input \"%s\" takes %s, not %s", input_name(model, i),
                       shape_format(taken, takes), shape_format(shape, given));
}

/* Do all shapes fit what the inputs take? *change: any is another than the model has. */
static status check_inputs(const struct model *model, const struct shape *shape, bool *change) {
    *change = false;
    for (int i = 0; i < model->graph->ninputs; i++) {
        bool same;
        STATUS_TRY(check_input(model, i, &shape[i], &same));
        *change = *change || !same;
    }
    return SUCCESS;
}

/* Do the operations use the parameters that the model has? */
static status check_params(const struct model *model, const struct graph *graph, const struct opgraph *ops) {
    for (int i = 0; i < ops->nparams; i++)
        if (i >= model->params->n || ops->param[i].count != model->params->count[i])
            return status_fail(STATUS_DATA, "layer \"%s\" has weights for inputs of another size",
                               graph->layer[ops->param[i].layer].name);
    return SUCCESS;
}

status model_set_inputs(struct model *model, const struct shape *shape) {
    struct opgraph *ops = NULL;
    int *value_of = NULL;
    bool change;
    STATUS_TRY(check_inputs(model, shape, &change));
    if (!change) return SUCCESS;
    STATUS_TRY(graph_set_input_shapes(model->graph, shape));
    STATUS_TRY(graph_lower(model->graph, &ops, &value_of));
    opgraph_destroy(&model->ops);
    free(model->value_of);
    model->ops = ops;
    model->value_of = value_of;
    return check_params(model, model->graph, ops);
}

status model_fit(const struct model *model, const struct shape *shape, struct opgraph **ops) {
    struct graph *graph = NULL;
    struct opgraph *fitted = NULL;
    bool change;
    STATUS_TRY(check_inputs(model, shape, &change));
    STATUS_TRY(graph_clone(model->graph, &graph));
    status error = change ? graph_set_input_shapes(graph, shape) : SUCCESS;
    if (!error) error = graph_lower(graph, &fitted, NULL);
    if (!error) error = check_params(model, graph, fitted);
    graph_destroy(&graph);
    if (error) opgraph_destroy(&fitted);
    *ops = fitted;
    return error;
}

status model_write(const char *path, const struct model *model) {
    return keras_write(path, model->graph, model->params, model->preprocessing);
}

status model_logits(const struct model *model, struct opgraph **logits) {
    const struct opgraph *ops = model->ops;
    int output = opgraph_before_softmax(ops, ops->output[0]);
    return opgraph_cut(ops, ops->ninputs, ops->input, 1, &output, logits);
}

status model_classes(const struct model *model, int64_t *classes) {
    const struct shape *out = &model->ops->value[model->ops->output[0]];
    char text[SHAPE_TEXT_MAX];
    if (model->ops->noutputs != 1 || out->rank != 2 || out->dim[1] < 1)
        return status_fail(
            STATUS_UNSUPPORTED,
            "the output of \"%s\" is %s; a classifier with one output (batch, classes) is needed",
            model->graph->name, shape_format(out, text));
    *classes = out->dim[1];
    return SUCCESS;
}

status model_input(const struct model *model, struct shape *shape) {
    if (model->ops->ninputs != 1)
        return status_fail(STATUS_UNSUPPORTED, "\"%s\" has %d inputs; one is needed", model->graph->name,
                           model->ops->ninputs);
    *shape = model->ops->value[model->ops->input[0]];
    return SUCCESS;
}

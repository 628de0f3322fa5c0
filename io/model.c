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

status model_create(struct graph *graph, struct model **model) {
    struct model *m = calloc(1, sizeof *m);
    if (!m) {
        graph_destroy(&graph);
        return status_no_memory("a model", sizeof *m);
    }
    m->graph = graph;
    status error = graph_lower(graph, &m->ops, &m->value_of);
    if (!error) error = params_create(m->ops, &m->params);
    if (error) {
        model_destroy(&m);
        return error;
    }
    *model = m;
    return SUCCESS;
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

status model_set_input(struct model *model, const struct shape *shape) {
    struct opgraph *ops = NULL;
    int *value_of = NULL;
    STATUS_TRY(graph_set_input_shape(model->graph, 0, shape));
    STATUS_TRY(graph_lower(model->graph, &ops, &value_of));
    opgraph_destroy(&model->ops);
    free(model->value_of);
    model->ops = ops;
    model->value_of = value_of;
    return SUCCESS;
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

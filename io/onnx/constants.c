/* Parameters as constants of the graph. */
#include "io/onnx/emit.h"

#include <stdio.h>

const float *onnx_param_values(const struct onnx_export *e, int param) {
    return params_at(e->params, param);
}

const struct shape *onnx_param_shape(const struct onnx_export *e, int param) {
    return &e->ops->param[param].shape;
}

const char *onnx_param_name(const struct onnx_export *e, int param, char *name, size_t room) {
    const struct param *p = &e->ops->param[param];
    const struct layer *layer = &e->graph->layer[p->layer];
    snprintf(name, room, "%s/%s", layer->name, layer->weight[p->weight].name);
    return name;
}

/* Shapes of one parameter are told apart by their rank: no operation takes it in two of the same. */
static int form_of(const struct shape *shape, const int *axis) {
    int form = shape->rank + 1;
    for (int i = 0; axis && i < shape->rank; i++) form = form * 8 + axis[i];
    return form;
}

static const char *remember(struct onnx_export *e, int param, int form, const char *name) {
    e->constant[param] = name;
    e->constant_form[param] = form;
    return name;
}

const char *onnx_param(struct onnx_export *e, int param, const struct shape *shape) {
    char name[512];
    const struct shape *to = shape ? shape : onnx_param_shape(e, param);
    const int form = form_of(to, NULL);
    if (e->constant[param] && e->constant_form[param] == form) return e->constant[param];
    onnx_param_name(e, param, name, sizeof name);
    return remember(e, param, form, onnx_graph_floats(e->onnx, name, to, onnx_param_values(e, param), true));
}

/* to[i]: x with its axes in the order axis[]. */
static void move_axes(const float *x, const struct shape *shape, const int *axis, float *to) {
    int64_t stride[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0}, offset = 0;
    for (int i = 0; i < shape->rank; i++) {
        stride[i] = 1;
        for (int k = axis[i] + 1; k < shape->rank; k++) stride[i] *= shape->dim[k];
    }
    for (int i = 0;; i = 0) {
        *to++ = x[offset];
        for (i = shape->rank - 1; i >= 0; i--) {
            offset += stride[i];
            if (++at[i] < shape->dim[axis[i]]) break;
            offset -= stride[i] * at[i];
            at[i] = 0;
        }
        if (i < 0) return;
    }
}

const char *onnx_param_moved(struct onnx_export *e, int param, const int *axis, const struct shape *shape) {
    char name[512];
    const int form = form_of(onnx_param_shape(e, param), axis);
    if (e->constant[param] && e->constant_form[param] == form) return e->constant[param];
    float *moved = onnx_graph_memory(e->onnx, e->ops->param[param].count);
    if (!moved) return "";
    move_axes(onnx_param_values(e, param), onnx_param_shape(e, param), axis, moved);
    onnx_param_name(e, param, name, sizeof name);
    return remember(e, param, form, onnx_graph_floats(e->onnx, name, shape, moved, true));
}

struct shape onnx_channel_shape(int rank, enum layout layout, int64_t channels) {
    struct shape shape = {.rank = 1, .dim = {channels}};
    if (layout == LAYOUT_FIRST)
        for (int i = 2; i < rank; i++) shape.dim[shape.rank++] = 1;
    return shape;
}

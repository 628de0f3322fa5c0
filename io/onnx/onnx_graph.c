#include "io/onnx/onnx_graph.h"

#include "io/onnx/onnx_graph_parts.h"

#include <onnx.pb-c.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_FLOAT = 1, TYPE_INT64 = 7 };

static int compare_names(const void *a, const void *b) {
    return strcmp(a, b);
}

static void keep_name(void *name) {
    (void)name; /* it lies in the graph's memory */
}

status onnx_graph_create(const char *name, struct onnx_graph **graph) {
    struct onnx_graph *g = calloc(1, sizeof *g);
    if (!g) return status_no_memory("an ONNX graph", sizeof *g);
    g->scope = "";
    status error = onnx_memory_create(&g->memory);
    if (!error) g->name = onnx_memory_text(g->memory, name);
    if (!error && !g->name) error = status_no_memory("an ONNX graph", sizeof *g);
    if (error) onnx_graph_destroy(&g);
    *graph = g;
    return error;
}

void onnx_graph_destroy(struct onnx_graph **graph) {
    struct onnx_graph *g = *graph;
    if (!g) return;
    struct list *lists[] = {&g->nodes, &g->constants, &g->inputs, &g->outputs, &g->metadata, &g->internal};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]->item);
    tdestroy(g->names, keep_name);
    onnx_memory_destroy(&g->memory);
    status_drop(&g->error);
    free(g);
    *graph = NULL;
}

/* ---- memory ---- */

static void no_memory(struct onnx_graph *g, size_t nbytes) {
    if (!g->error) g->error = status_no_memory("an ONNX graph", nbytes);
}

void *onnx_graph_take(struct onnx_graph *g, size_t count, size_t size) {
    if (g->error) return NULL;
    void *memory = onnx_memory_take(g->memory, count, size);
    if (!memory) no_memory(g, count * size);
    return memory;
}

static char *copy_text(struct onnx_graph *g, const char *text) {
    char *copy = onnx_graph_take(g, strlen(text) + 1, 1);
    if (copy) strcpy(copy, text);
    return copy;
}

static void append(struct onnx_graph *g, struct list *list, void *item) {
    if (g->error) return;
    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        void **grown = realloc(list->item, room * sizeof *grown);
        if (!grown) {
            no_memory(g, room * sizeof *grown);
            return;
        }
        list->item = grown;
        list->room = room;
    }
    list->item[list->n++] = item;
}

float *onnx_graph_memory(struct onnx_graph *g, int64_t count) {
    return onnx_graph_take(g, (size_t)count, sizeof(float));
}

/* ---- names ---- */

/* The name, or with a number behind it that makes it the only one. */
static char *unique_name(struct onnx_graph *g, const char *wanted) {
    const size_t room = strlen(wanted) + 24;
    char *name = onnx_graph_take(g, room, 1);
    if (!name) return NULL;
    strcpy(name, wanted);
    for (int i = 1; tfind(name, &g->names, compare_names); i++) snprintf(name, room, "%s_%d", wanted, i);
    if (!tsearch(name, &g->names, compare_names)) no_memory(g, room);
    return name;
}

void onnx_graph_scope(struct onnx_graph *g, const char *layer) {
    g->scope = layer;
}

/* "layer/what" */
static char *scoped_name(struct onnx_graph *g, const char *what) {
    const size_t room = strlen(g->scope) + strlen(what) + 2;
    char *wanted = onnx_graph_take(g, room, 1);
    if (!wanted) return NULL;
    snprintf(wanted, room, "%s%s%s", g->scope, *g->scope ? "/" : "", what);
    return unique_name(g, wanted);
}

/* ---- nodes ---- */

static void set_bytes(struct onnx_graph *g, ProtobufCBinaryData *bytes, const char *text) {
    bytes->len = strlen(text);
    bytes->data = (uint8_t *)copy_text(g, text);
}

static Onnx__AttributeProto *make_attribute(struct onnx_graph *g, const struct onnx_attribute *from) {
    Onnx__AttributeProto *a = onnx_graph_take(g, 1, sizeof *a);
    const size_t n = (size_t)from->n;
    if (!a) return NULL;
    onnx__attribute_proto__init(a);
    a->name = copy_text(g, from->name);
    a->has_type = 1;
    a->type = from->type;
    a->has_f = from->type == 1;
    a->f = from->f;
    a->has_i = from->type == 2;
    a->i = from->i;
    a->has_s = from->type == 3;
    if (from->s) set_bytes(g, &a->s, from->s);
    if (from->floats && (a->floats = onnx_graph_take(g, n, sizeof *a->floats))) {
        a->n_floats = n;
        memcpy(a->floats, from->floats, n * sizeof *a->floats);
    }
    if (from->ints && (a->ints = onnx_graph_take(g, n, sizeof *a->ints))) {
        a->n_ints = n;
        memcpy(a->ints, from->ints, n * sizeof *a->ints);
    }
    if (from->strings && (a->strings = onnx_graph_take(g, n, sizeof *a->strings))) {
        a->n_strings = n;
        for (size_t i = 0; i < n; i++) set_bytes(g, &a->strings[i], from->strings[i]);
    }
    return a;
}

void onnx_graph_node_outputs(struct onnx_graph *g, const char *op_type, int nin, const char *const *in,
                             int nattrs, const struct onnx_attribute *attr, int nout, const char **out) {
    Onnx__NodeProto *node = onnx_graph_take(g, 1, sizeof *node);
    char **inputs = onnx_graph_take(g, (size_t)nin + 1, sizeof *inputs),
         **outputs = onnx_graph_take(g, (size_t)nout, sizeof *outputs);
    Onnx__AttributeProto **attributes = onnx_graph_take(g, (size_t)nattrs + 1, sizeof *attributes);
    for (int i = 0; i < nin && inputs; i++) inputs[i] = copy_text(g, in[i]);
    for (int i = 0; i < nattrs && attributes; i++) attributes[i] = make_attribute(g, &attr[i]);
    for (int i = 0; i < nout && outputs; i++)
        outputs[i] = out[i] ? copy_text(g, "") : scoped_name(g, op_type);
    for (int i = 0; i < nout; i++) out[i] = g->error ? "" : outputs[i];
    if (g->error) return;
    onnx__node_proto__init(node);
    node->op_type = copy_text(g, op_type);
    for (int i = nout - 1; i >= 0; i--)
        if (*outputs[i]) node->name = outputs[i];
    node->n_input = (size_t)nin;
    node->input = inputs;
    node->n_output = (size_t)nout;
    node->output = outputs;
    node->n_attribute = (size_t)nattrs;
    node->attribute = attributes;
    append(g, &g->nodes, node);
}

const char *onnx_graph_node(struct onnx_graph *g, const char *op_type, int nin, const char *const *in,
                            int nattrs, const struct onnx_attribute *attr) {
    const char *out[1] = {NULL};
    onnx_graph_node_outputs(g, op_type, nin, in, nattrs, attr, 1, out);
    return out[0];
}

/* ---- constants ---- */

static const char *add_constant(struct onnx_graph *g, char *name, int type, int rank, const int64_t *dim,
                                const void *values, size_t nbytes) {
    Onnx__TensorProto *tensor = onnx_graph_take(g, 1, sizeof *tensor);
    int64_t *dims = onnx_graph_take(g, (size_t)rank + 1, sizeof *dims);
    if (g->error) return "";
    onnx__tensor_proto__init(tensor);
    for (int i = 0; i < rank; i++) dims[i] = dim[i];
    tensor->n_dims = (size_t)rank;
    tensor->dims = dims;
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->name = name;
    tensor->has_raw_data = 1;
    tensor->raw_data.len = nbytes;
    tensor->raw_data.data = (uint8_t *)(uintptr_t)values;
    append(g, &g->constants, tensor);
    return g->error ? "" : name;
}

const char *onnx_graph_floats(struct onnx_graph *g, const char *name, const struct shape *shape,
                              const float *values, bool borrowed) {
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++) count *= shape->dim[i];
    const size_t nbytes = (size_t)count * sizeof *values;
    char *own = unique_name(g, name);
    if (!borrowed) {
        float *copy = onnx_graph_memory(g, count);
        if (copy) memcpy(copy, values, nbytes);
        values = copy;
    }
    return add_constant(g, own, TYPE_FLOAT, shape->rank, shape->dim, values, nbytes);
}

const char *onnx_graph_ints(struct onnx_graph *g, const char *name, int n, const int64_t *values) {
    int64_t *copy = onnx_graph_take(g, (size_t)n + 1, sizeof *copy), dim = n;
    if (copy) memcpy(copy, values, (size_t)n * sizeof *copy);
    return add_constant(g, scoped_name(g, name), TYPE_INT64, 1, &dim, copy, (size_t)n * sizeof *copy);
}

const char *onnx_graph_number(struct onnx_graph *g, float value) {
    float *copy = onnx_graph_memory(g, 1);
    if (copy) *copy = value;
    return add_constant(g, scoped_name(g, "number"), TYPE_FLOAT, 0, NULL, copy, sizeof *copy);
}

/* ---- inputs, outputs, metadata ---- */

static char *dimension_name(struct onnx_graph *g, const char *name, int axis) {
    const size_t room = strlen(name) + 16;
    char *text = onnx_graph_take(g, room, 1);
    if (!text) return NULL;
    if (axis) snprintf(text, room, "%s_%d", name, axis);
    else strcpy(text, "N");
    return text;
}

static Onnx__TensorShapeProto *make_shape(struct onnx_graph *g, const char *name, const struct shape *shape) {
    Onnx__TensorShapeProto *proto = onnx_graph_take(g, 1, sizeof *proto);
    Onnx__TensorShapeProto__Dimension **dim = onnx_graph_take(g, (size_t)shape->rank + 1, sizeof *dim);
    if (!dim) return NULL;
    onnx__tensor_shape_proto__init(proto);
    proto->n_dim = (size_t)shape->rank;
    proto->dim = dim;
    for (int i = 0; i < shape->rank; i++) {
        dim[i] = onnx_graph_take(g, 1, sizeof **dim);
        if (!dim[i]) return NULL;
        onnx__tensor_shape_proto__dimension__init(dim[i]);
        if (shape->dim[i] == SHAPE_UNKNOWN) {
            dim[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim[i]->dim_param = dimension_name(g, name, i);
        } else {
            dim[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim[i]->dim_value = shape->dim[i];
        }
    }
    return proto;
}

static void add_end(struct onnx_graph *g, struct list *list, char *name, const struct shape *shape) {
    Onnx__ValueInfoProto *info = onnx_graph_take(g, 1, sizeof *info);
    Onnx__TypeProto *type = onnx_graph_take(g, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = onnx_graph_take(g, 1, sizeof *tensor);
    Onnx__TensorShapeProto *dims = g->error ? NULL : make_shape(g, name, shape);
    if (g->error) return;
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = TYPE_FLOAT;
    tensor->shape = dims;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = name;
    info->type = type;
    append(g, list, info);
}

const char *onnx_graph_input(struct onnx_graph *g, const char *name, const struct shape *shape) {
    char *own = unique_name(g, name);
    add_end(g, &g->inputs, own, shape);
    return g->error ? "" : own;
}

/* The public name of a value that has one, or NULL. */
static const char *public_name(const struct onnx_graph *g, const char *value) {
    for (size_t i = 0; i < g->inputs.n; i++) {
        const char *name = ((Onnx__ValueInfoProto *)g->inputs.item[i])->name;
        if (!strcmp(name, value)) return name;
    }
    for (size_t i = 0; i < g->outputs.n; i++)
        if (!strcmp(g->internal.item[i], value)) return ((Onnx__ValueInfoProto *)g->outputs.item[i])->name;
    return NULL;
}

static void rename_all(char **name, size_t n, const char *from, char *to) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name[i], from)) name[i] = to;
}

/* A node's own name stays: it says what it does. */
static void rename_value(struct onnx_graph *g, const char *from, char *to) {
    for (size_t i = 0; i < g->nodes.n; i++) {
        Onnx__NodeProto *node = g->nodes.item[i];
        rename_all(node->input, node->n_input, from, to);
        rename_all(node->output, node->n_output, from, to);
    }
}

void onnx_graph_output(struct onnx_graph *g, const char *value, const char *name, const struct shape *shape) {
    char *own = unique_name(g, name);
    if (g->error) return;
    const char *taken = public_name(g, value);
    if (taken) {
        onnx_graph_scope(g, name);
        value = onnx_graph_node(g, "Identity", ONNX_IN(taken), ONNX_PLAIN);
    }
    append(g, &g->internal, copy_text(g, value));
    if (g->error) return;
    rename_value(g, value, own);
    add_end(g, &g->outputs, own, shape);
}

Onnx__StringStringEntryProto *onnx_graph_entry(struct onnx_graph *g, const char *key, const char *value) {
    Onnx__StringStringEntryProto *entry = onnx_graph_take(g, 1, sizeof *entry);
    if (!entry) return NULL;
    onnx__string_string_entry_proto__init(entry);
    entry->key = copy_text(g, key);
    entry->value = copy_text(g, value);
    return entry;
}

void onnx_graph_metadata(struct onnx_graph *g, const char *key, const char *value) {
    append(g, &g->metadata, onnx_graph_entry(g, key, value));
}

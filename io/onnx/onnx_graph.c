#include "io/onnx/onnx_graph.h"

#include "io/file.h"
#include "io/onnx/onnx_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <onnx.pb-c.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IR_VERSION 8 /* of ONNX 1.12 */
#define OPSET 17     /* likewise */

enum { TYPE_FLOAT = 1, TYPE_INT64 = 7 };

/* A list of pointers that grows. */
struct list {
    size_t n, room;
    void **item;
};

struct onnx_graph {
    struct onnx_memory *memory;
    status error;
    const char *scope;
    void *names; /* a search tree */
    struct list nodes, constants, inputs, outputs, metadata;
    struct list internal; /* what each output was called before */
    char *name;
};

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

/* Zero-filled; NULL after an error. */
static void *take(struct onnx_graph *g, size_t count, size_t size) {
    if (g->error) return NULL;
    void *memory = onnx_memory_take(g->memory, count, size);
    if (!memory) no_memory(g, count * size);
    return memory;
}

static char *copy_text(struct onnx_graph *g, const char *text) {
    char *copy = take(g, strlen(text) + 1, 1);
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
    return take(g, (size_t)count, sizeof(float));
}

/* ---- names ---- */

/* The name, or with a number behind it that makes it the only one. */
static char *unique_name(struct onnx_graph *g, const char *wanted) {
    const size_t room = strlen(wanted) + 24;
    char *name = take(g, room, 1);
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
    char *wanted = take(g, room, 1);
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
    Onnx__AttributeProto *a = take(g, 1, sizeof *a);
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
    if (from->floats && (a->floats = take(g, n, sizeof *a->floats))) {
        a->n_floats = n;
        memcpy(a->floats, from->floats, n * sizeof *a->floats);
    }
    if (from->ints && (a->ints = take(g, n, sizeof *a->ints))) {
        a->n_ints = n;
        memcpy(a->ints, from->ints, n * sizeof *a->ints);
    }
    if (from->strings && (a->strings = take(g, n, sizeof *a->strings))) {
        a->n_strings = n;
        for (size_t i = 0; i < n; i++) set_bytes(g, &a->strings[i], from->strings[i]);
    }
    return a;
}

void onnx_graph_node_outputs(struct onnx_graph *g, const char *op_type, int nin, const char *const *in,
                             int nattrs, const struct onnx_attribute *attr, int nout, const char **out) {
    Onnx__NodeProto *node = take(g, 1, sizeof *node);
    char **inputs = take(g, (size_t)nin + 1, sizeof *inputs),
         **outputs = take(g, (size_t)nout, sizeof *outputs);
    Onnx__AttributeProto **attributes = take(g, (size_t)nattrs + 1, sizeof *attributes);
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
    Onnx__TensorProto *tensor = take(g, 1, sizeof *tensor);
    int64_t *dims = take(g, (size_t)rank + 1, sizeof *dims);
    if (g->error) return "";
    onnx__tensor_proto__init(tensor);
    memcpy(dims, dim, (size_t)rank * sizeof *dims);
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
    int64_t *copy = take(g, (size_t)n + 1, sizeof *copy), dim = n;
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
    char *text = take(g, room, 1);
    if (!text) return NULL;
    if (axis) snprintf(text, room, "%s_%d", name, axis);
    else strcpy(text, "N");
    return text;
}

static Onnx__TensorShapeProto *make_shape(struct onnx_graph *g, const char *name, const struct shape *shape) {
    Onnx__TensorShapeProto *proto = take(g, 1, sizeof *proto);
    Onnx__TensorShapeProto__Dimension **dim = take(g, (size_t)shape->rank + 1, sizeof *dim);
    if (!dim) return NULL;
    onnx__tensor_shape_proto__init(proto);
    proto->n_dim = (size_t)shape->rank;
    proto->dim = dim;
    for (int i = 0; i < shape->rank; i++) {
        dim[i] = take(g, 1, sizeof **dim);
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
    Onnx__ValueInfoProto *info = take(g, 1, sizeof *info);
    Onnx__TypeProto *type = take(g, 1, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = take(g, 1, sizeof *tensor);
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

static Onnx__StringStringEntryProto *make_entry(struct onnx_graph *g, const char *key, const char *value) {
    Onnx__StringStringEntryProto *entry = take(g, 1, sizeof *entry);
    if (!entry) return NULL;
    onnx__string_string_entry_proto__init(entry);
    entry->key = copy_text(g, key);
    entry->value = copy_text(g, value);
    return entry;
}

void onnx_graph_metadata(struct onnx_graph *g, const char *key, const char *value) {
    append(g, &g->metadata, make_entry(g, key, value));
}

/* ---- writing ---- */

#define EXTERNAL_MIN ((size_t)1024) /* bytes of a constant that is worth a place in another file */
#define EXTERNAL_ALIGN ((int64_t)4096)

/* A file being written; protobuf-c appends to it. */
struct sink {
    ProtobufCBuffer base;
    FILE *file;
    bool failed;
};

static void append_bytes(ProtobufCBuffer *buffer, size_t n, const uint8_t *data) {
    struct sink *sink = (struct sink *)(void *)buffer;
    if (!sink->failed && n && fwrite(data, 1, n, sink->file) != n) sink->failed = true;
}

/* Writes a temporary file by fill() and gives it the name `path`. */
static status write_file(const char *path, void (*fill)(const struct onnx_graph *g, struct sink *sink),
                         const struct onnx_graph *g) {
    char *temporary = NULL;
    STATUS_TRY(file_temporary(path, &temporary));
    struct sink sink = {.base = {append_bytes}, .file = fopen(temporary, "wb")};
    status error = SUCCESS;
    if (!sink.file) {
        error = file_fail("write", path, errno);
    } else {
        fill(g, &sink);
        int closed = fclose(sink.file);
        if (sink.failed || closed) error = file_fail("write", path, errno);
    }
    if (!error) error = file_commit(temporary, path);
    else file_abandon(temporary);
    free(temporary);
    return error;
}

static int64_t aligned(int64_t offset) {
    return (offset + EXTERNAL_ALIGN - 1) / EXTERNAL_ALIGN * EXTERNAL_ALIGN;
}

static bool is_external(const Onnx__TensorProto *tensor) {
    return tensor->raw_data.len >= EXTERNAL_MIN;
}

static void fill_data(const struct onnx_graph *g, struct sink *sink) {
    static const uint8_t zeros[EXTERNAL_ALIGN];
    int64_t offset = 0;
    for (size_t i = 0; i < g->constants.n; i++) {
        const Onnx__TensorProto *tensor = g->constants.item[i];
        if (!is_external(tensor)) continue;
        append_bytes(&sink->base, (size_t)(aligned(offset) - offset), zeros);
        append_bytes(&sink->base, tensor->raw_data.len, tensor->raw_data.data);
        offset = aligned(offset) + (int64_t)tensor->raw_data.len;
    }
}

/* Says of the constants that are in the other file where they are. */
static void refer_to_data(struct onnx_graph *g, const char *location) {
    int64_t offset = 0;
    for (size_t i = 0; i < g->constants.n; i++) {
        Onnx__TensorProto *tensor = g->constants.item[i];
        char begin[24], length[24];
        if (!is_external(tensor)) continue;
        offset = aligned(offset);
        snprintf(begin, sizeof begin, "%" PRId64, offset);
        snprintf(length, sizeof length, "%zu", tensor->raw_data.len);
        offset += (int64_t)tensor->raw_data.len;
        Onnx__StringStringEntryProto **entry = take(g, 3, sizeof *entry);
        if (!entry) return;
        entry[0] = make_entry(g, "location", location);
        entry[1] = make_entry(g, "offset", begin);
        entry[2] = make_entry(g, "length", length);
        tensor->n_external_data = 3;
        tensor->external_data = entry;
        tensor->has_data_location = 1;
        tensor->data_location = 1;
        tensor->has_raw_data = 0;
    }
}

static void fill_model(const struct onnx_graph *g, struct sink *sink) {
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
    char producer[] = "Godwit", version[] = GODWIT_VERSION, domain[] = "";
    opset.domain = domain;
    opset.has_version = 1;
    opset.version = OPSET;
    graph.name = g->name;
    graph.n_node = g->nodes.n;
    graph.node = (Onnx__NodeProto **)(void *)g->nodes.item;
    graph.n_initializer = g->constants.n;
    graph.initializer = (Onnx__TensorProto **)(void *)g->constants.item;
    graph.n_input = g->inputs.n;
    graph.input = (Onnx__ValueInfoProto **)(void *)g->inputs.item;
    graph.n_output = g->outputs.n;
    graph.output = (Onnx__ValueInfoProto **)(void *)g->outputs.item;
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = producer;
    model.producer_version = version;
    model.graph = &graph;
    model.n_opset_import = 1;
    model.opset_import = opsets;
    model.n_metadata_props = g->metadata.n;
    model.metadata_props = (Onnx__StringStringEntryProto **)(void *)g->metadata.item;
    protobuf_c_message_pack_to_buffer(&model.base, &sink->base);
}

static int64_t constant_bytes(const struct onnx_graph *g) {
    int64_t sum = 0;
    for (size_t i = 0; i < g->constants.n; i++)
        sum += (int64_t)((Onnx__TensorProto *)g->constants.item[i])->raw_data.len;
    return sum;
}

static status write_data(struct onnx_graph *g, const char *path) {
    const size_t room = strlen(path) + sizeof ".data";
    char *data = take(g, room, 1);
    if (!data) return SUCCESS;
    snprintf(data, room, "%s.data", path);
    STATUS_TRY(write_file(data, fill_data, g));
    const char *slash = strrchr(data, '/');
    refer_to_data(g, slash ? slash + 1 : data);
    return SUCCESS;
}

status onnx_graph_write(struct onnx_graph *g, const char *path, int64_t inline_max) {
    if (!g->error && constant_bytes(g) > inline_max) STATUS_TRY(write_data(g, path));
    if (g->error) {
        status error = g->error;
        g->error = SUCCESS;
        return error;
    }
    return write_file(path, fill_model, g);
}

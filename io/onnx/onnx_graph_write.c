/* An ONNX graph as a file, or two. */
#include "io/file.h"
#include "io/onnx/onnx_graph_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IR_VERSION 8 /* of ONNX 1.12 */
#define OPSET 17     /* likewise */

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

/* Writes a file by fill() under a temporary name, which is the caller's. */
static status write_file(const char *path, void (*fill)(const struct onnx_graph *g, struct sink *sink),
                         const struct onnx_graph *g, char **temporary) {
    STATUS_TRY(file_temporary(path, temporary));
    struct sink sink = {.base = {append_bytes}, .file = fopen(*temporary, "wb")};
    status error = SUCCESS;
    if (!sink.file) {
        error = file_fail("write", path, errno);
    } else {
        fill(g, &sink);
        int closed = fclose(sink.file);
        if (sink.failed || closed) error = file_fail("write", path, errno);
    }
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
        Onnx__StringStringEntryProto **entry = onnx_graph_take(g, 3, sizeof *entry);
        if (!entry) return;
        entry[0] = onnx_graph_entry(g, "location", location);
        entry[1] = onnx_graph_entry(g, "offset", begin);
        entry[2] = onnx_graph_entry(g, "length", length);
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

/* `data`: the name of the file beside, borrowed from the graph. */
static status write_data(struct onnx_graph *g, const char *path, char **data, char **temporary) {
    const size_t room = strlen(path) + sizeof ".data";
    *data = onnx_graph_take(g, room, 1);
    if (!*data) return SUCCESS;
    snprintf(*data, room, "%s.data", path);
    STATUS_TRY(write_file(*data, fill_data, g, temporary));
    const char *slash = strrchr(*data, '/');
    refer_to_data(g, slash ? slash + 1 : *data);
    return SUCCESS;
}

status onnx_graph_write(struct onnx_graph *g, const char *path, int64_t inline_max) {
    char *data = NULL, *data_temporary = NULL, *temporary = NULL;
    status error = SUCCESS;
    if (!g->error && constant_bytes(g) > inline_max) error = write_data(g, path, &data, &data_temporary);
    if (g->error) {
        error = status_first(error, g->error);
        g->error = SUCCESS;
    }
    if (!error) error = write_file(path, fill_model, g, &temporary);
    return file_commit_pair(error, data_temporary, data, temporary, path);
}

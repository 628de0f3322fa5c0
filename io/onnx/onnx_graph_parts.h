/* What an ONNX graph is made of: for onnx_graph.c and onnx_graph_write.c. The messages of lists are those of
 * onnx.proto, in the graph's memory. */
#ifndef GODWIT_IO_ONNX_ONNX_GRAPH_PARTS_H
#define GODWIT_IO_ONNX_ONNX_GRAPH_PARTS_H

#include "io/onnx/onnx_graph.h"
#include "io/onnx/onnx_memory.h"

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

/* Zero-filled memory of the graph; NULL after an error. */
void *onnx_graph_take(struct onnx_graph *graph, size_t count, size_t size);

struct Onnx__StringStringEntryProto;
struct Onnx__StringStringEntryProto *onnx_graph_entry(struct onnx_graph *graph, const char *key,
                                                      const char *value);

#endif

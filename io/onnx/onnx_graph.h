/* An ONNX graph being made: nodes, constants, inputs and outputs, by name. Names are unique: a name that is
 * taken gets a number behind it. Private to io/onnx/.
 *
 * An error, always of memory, stays in the graph: what is added after it does nothing and gives "", and
 * onnx_graph_write() returns it. All names that are returned are the graph's. */
#ifndef GODWIT_IO_ONNX_ONNX_GRAPH_H
#define GODWIT_IO_ONNX_ONNX_GRAPH_H

#include "shared/tensor.h"

struct onnx_graph;

status onnx_graph_create(const char *name, struct onnx_graph **graph) STATUS_MUST_USE;
void onnx_graph_destroy(struct onnx_graph **graph); /* accepts NULL */

/* What nodes are for from now on: their names begin with the layer's. */
void onnx_graph_scope(struct onnx_graph *graph, const char *layer);

struct onnx_attribute {
    const char *name;
    int type; /* as AttributeProto says it */
    float f;
    int64_t i;
    const char *s;
    int n; /* of floats, ints or strings */
    const float *floats;
    const int64_t *ints;
    const char *const *strings;
};
#define ONNX_FLOAT(key, value)                                                                               \
    { .name = (key), .type = 1, .f = (value) }
#define ONNX_INT(key, value)                                                                                 \
    { .name = (key), .type = 2, .i = (value) }
#define ONNX_STRING(key, value)                                                                              \
    { .name = (key), .type = 3, .s = (value) }
#define ONNX_FLOATS(key, count, values)                                                                      \
    { .name = (key), .type = 6, .n = (count), .floats = (values) }
#define ONNX_INTS(key, count, values)                                                                        \
    { .name = (key), .type = 7, .n = (count), .ints = (values) }
#define ONNX_STRINGS(key, count, values)                                                                     \
    { .name = (key), .type = 8, .n = (count), .strings = (values) }

/* Arguments of onnx_graph_node(): inputs ("": left out) and attributes, with their numbers. */
#define ONNX_IN(...)                                                                                         \
    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *const[]) {                   \
        __VA_ARGS__                                                                                          \
    }
#define ONNX_WITH(...)                                                                                       \
    (int)(sizeof((struct onnx_attribute[]){__VA_ARGS__}) / sizeof(struct onnx_attribute)),                   \
        (const struct onnx_attribute[]) {                                                                    \
        __VA_ARGS__                                                                                          \
    }
#define ONNX_PLAIN 0, NULL

/* Appends a node with one output, whose name it returns. */
const char *onnx_graph_node(struct onnx_graph *graph, const char *op_type, int nin, const char *const *in,
                            int nattrs, const struct onnx_attribute *attr);
/* The same with several; out[i] is "" on the way in where output i is left out, NULL where it is wanted. */
void onnx_graph_node_outputs(struct onnx_graph *graph, const char *op_type, int nin, const char *const *in,
                             int nattrs, const struct onnx_attribute *attr, int nout, const char **out);

/* Constants. Values are copied, or borrowed until the graph is written. Returns the name. */
const char *onnx_graph_floats(struct onnx_graph *graph, const char *name, const struct shape *shape,
                              const float *values, bool borrowed);
const char *onnx_graph_ints(struct onnx_graph *graph, const char *name, int n, const int64_t *values);
const char *onnx_graph_number(struct onnx_graph *graph, float value); /* a scalar */
/* Memory for the values of a constant, which live as long as the graph; NULL after an error. */
float *onnx_graph_memory(struct onnx_graph *graph, int64_t count);

/* Unknown dimensions are symbolic: the batch is "N", another one is named by its axis, "image_1". */
const char *onnx_graph_input(struct onnx_graph *graph, const char *name, const struct shape *shape);
/* Makes `value` an output of the graph and gives it that name; a value that has a public name already is
 * copied. */
void onnx_graph_output(struct onnx_graph *graph, const char *value, const char *name,
                       const struct shape *shape);

void onnx_graph_metadata(struct onnx_graph *graph, const char *key, const char *value);

/* Most bytes of constants that are put into the file itself; a protobuf message must stay below 2 GiB. */
#define ONNX_INLINE_MAX ((int64_t)1900 << 20)

/* Writes the file, complete or absent. If there are more than `inline_max` bytes of constants, those of 1 KiB
 * and more go into the file `path`.data beside it. Errors: IO, MEMORY. */
status onnx_graph_write(struct onnx_graph *graph, const char *path, int64_t inline_max) STATUS_MUST_USE;

#endif

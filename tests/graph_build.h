/* Builds model graphs in tests: build_layer(g, "Conv2D", "conv", "filters=16 kernel_size=3 padding=same", 1,
 * &x). Include after cmocka.h. Failures fail the test. */
#ifndef GODWIT_TESTS_GRAPH_BUILD_H
#define GODWIT_TESTS_GRAPH_BUILD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/graph.h"

static inline void build_ok(status error) {
    if (error) fail_msg("%s", status_message(error));
}

/* Fails unless `error` has this code and its message contains `text`; drops it. */
static inline void build_refused(status error, enum status_code code, const char *text) {
    if (status_code(error) != code || !strstr(status_message(error), text))
        fail_msg("expected an error of code %d with \"%s\", got %d: \"%s\"", code, text, status_code(error),
                 status_message(error));
    status_drop(&error);
}

/* A layer with attributes as "key=value key=value" in the text of attr_parse(). */
static inline void build_alone(const char *class_name, const char *name, const char *attrs,
                               struct layer *layer) {
    const struct layer_kind *kind = layer_kind_find(class_name);
    char copy[512], *rest = NULL;
    if (!kind) fail_msg("no layer kind %s", class_name);
    build_ok(layer_create(kind, name, layer));
    snprintf(copy, sizeof copy, "%s", attrs);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        *value++ = 0;
        struct attr *attr = layer_attr(layer, word);
        const struct attr_spec *spec = &kind->attrs[attr - layer->attr];
        attr_clear(spec, attr);
        build_ok(attr_parse(spec, value, attr));
    }
}

/* The same in a graph. Returns its index. */
static inline int build_uncalled(struct graph *graph, const char *class_name, const char *name,
                                 const char *attrs) {
    struct layer layer;
    int index;
    build_alone(class_name, name, attrs, &layer);
    build_ok(graph_add_layer(graph, &layer, &index));
    return index;
}

/* Puts a layer into an attribute of a node's layer. */
static inline void build_inner(struct graph *graph, int node, const char *attr, const char *class_name,
                               const char *attrs) {
    struct attr *a = layer_attr(&graph->layer[graph->node[node].layer], attr);
    a->u.layer = malloc(sizeof *a->u.layer);
    if (!a->u.layer) fail_msg("no memory");
    build_alone(class_name, class_name, attrs, a->u.layer);
    a->present = true;
}

/* The same with one call on output 0 of the given nodes. Returns the node. */
static inline int build_layer(struct graph *graph, const char *class_name, const char *name,
                              const char *attrs, int nin, const int *in) {
    struct edge edge[16];
    int node, layer = build_uncalled(graph, class_name, name, attrs);
    for (int i = 0; i < nin; i++) edge[i] = (struct edge){in[i], 0};
    build_ok(graph_add_node(graph, layer, nin, edge, &node));
    return node;
}

static inline int build_input(struct graph *graph, const char *name, const char *batch_shape) {
    char attrs[256];
    snprintf(attrs, sizeof attrs, "batch_shape=%s", batch_shape);
    int node = build_layer(graph, "InputLayer", name, attrs, 0, NULL);
    build_ok(graph_add_input(graph, (struct edge){node, 0}));
    return node;
}

static inline void build_output(struct graph *graph, int node) {
    build_ok(graph_add_output(graph, (struct edge){node, 0}));
}

/* Node that first calls the layer of that name. */
static inline int build_node(const struct graph *graph, const char *name) {
    int layer = graph_find_layer(graph, name);
    if (layer < 0) fail_msg("no layer %s", name);
    return graph_layer_node(graph, layer);
}

static inline void build_shape_is(const struct shape *shape, const struct shape *expected) {
    char is[SHAPE_TEXT_MAX], should[SHAPE_TEXT_MAX];
    if (!shape_equal(shape, expected))
        fail_msg("shape is %s, not %s", shape_format(shape, is), shape_format(expected, should));
}

#endif

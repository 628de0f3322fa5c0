/* Model graphs: building, copying, looking up. */
#include "shared/graph.h"

#include "shared/nearest.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for one more element in an array of n that grows in powers of two. */
static status grow(const char *what, void *array, int n, size_t size) {
    if (n & (n - 1)) return SUCCESS;
    size_t room = n ? 2 * (size_t)n : 1;
    void *old, *larger;
    memcpy(&old, array, sizeof old);
    larger = realloc(old, room * size);
    if (!larger) return status_no_memory(what, room * size);
    memcpy(array, &larger, sizeof larger);
    return SUCCESS;
}

status graph_create(const char *name, struct graph **graph) {
    struct graph *created = calloc(1, sizeof *created);
    if (!created) return status_no_memory("graph", sizeof *created);
    created->keras_version = 2;
    created->name = strdup(name);
    if (!created->name) {
        free(created);
        return status_no_memory("graph", strlen(name) + 1);
    }
    *graph = created;
    return SUCCESS;
}

/* A layer's name and number, in the search tree. */
struct name {
    const char *text; /* the layer's */
    int layer;
};

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

void graph_destroy(struct graph **graph) {
    struct graph *g = *graph;
    if (!g) return;
    tdestroy(g->names, free);
    for (int i = 0; i < g->nlayers; i++) layer_clear(&g->layer[i]);
    for (int i = 0; i < g->nnodes; i++) free(g->node[i].in);
    free(g->layer);
    free(g->node);
    free(g->input);
    free(g->output);
    free(g->name);
    free(g);
    *graph = NULL;
}

status graph_clone(const struct graph *graph, struct graph **clone) {
    struct graph *c = NULL;
    status error = graph_create(graph->name, &c);
    if (error) return error;
    c->keras_version = graph->keras_version;
    c->sequential = graph->sequential;
    for (int i = 0; i < graph->nlayers; i++) {
        struct layer layer;
        STATUS_GOTO(error, fail, layer_copy(&graph->layer[i], graph->layer[i].name, &layer));
        STATUS_GOTO(error, fail, graph_add_layer(c, &layer, NULL));
    }
    for (int i = 0; i < graph->nnodes; i++) {
        const struct node *node = &graph->node[i];
        STATUS_GOTO(error, fail, graph_add_node(c, node->layer, node->nin, node->in, NULL));
        c->node[i].nout = node->nout;
        memcpy(c->node[i].out, node->out, sizeof node->out);
    }
    for (int i = 0; i < graph->ninputs; i++) STATUS_GOTO(error, fail, graph_add_input(c, graph->input[i]));
    for (int i = 0; i < graph->noutputs; i++) STATUS_GOTO(error, fail, graph_add_output(c, graph->output[i]));
    *clone = c;
    return SUCCESS;
fail:
    graph_destroy(&c);
    return error;
}

status graph_add_layer(struct graph *graph, struct layer *layer, int *index) {
    struct name *name = malloc(sizeof *name), **found = NULL;
    status error = name ? grow("layers", &graph->layer, graph->nlayers, sizeof *graph->layer)
                        : status_no_memory("layers", sizeof *name);
    if (!error) {
        *name = (struct name){layer->name, graph->nlayers};
        found = tsearch(name, &graph->names, compare_names);
        if (!found) error = status_no_memory("layers", sizeof *name);
        else if (*found != name)
            error = status_fail(STATUS_DATA, "two layers are named \"%s\"; rename one", layer->name);
    }
    if (error) {
        free(name);
        layer_clear(layer);
        return error;
    }
    graph->layer[graph->nlayers] = *layer;
    *layer = (struct layer){0};
    if (index) *index = graph->nlayers;
    graph->nlayers++;
    return SUCCESS;
}

status graph_add_node(struct graph *graph, int layer, int nin, const struct edge *in, int *node) {
    STATUS_TRY(grow("nodes", &graph->node, graph->nnodes, sizeof *graph->node));
    struct edge *copy = malloc(nin ? (size_t)nin * sizeof *copy : 1);
    if (!copy) return status_no_memory("nodes", (size_t)nin * sizeof *copy);
    if (nin) memcpy(copy, in, (size_t)nin * sizeof *copy);
    graph->node[graph->nnodes] = (struct node){.layer = layer, .nin = nin, .in = copy};
    if (node) *node = graph->nnodes;
    graph->nnodes++;
    return SUCCESS;
}

status graph_add_input(struct graph *graph, struct edge input) {
    STATUS_TRY(grow("inputs", &graph->input, graph->ninputs, sizeof *graph->input));
    graph->input[graph->ninputs++] = input;
    return SUCCESS;
}

status graph_add_output(struct graph *graph, struct edge output) {
    STATUS_TRY(grow("outputs", &graph->output, graph->noutputs, sizeof *graph->output));
    graph->output[graph->noutputs++] = output;
    return SUCCESS;
}

int graph_find_layer(const struct graph *graph, const char *name) {
    const struct name key = {.text = name};
    struct name *const *found = tfind(&key, &graph->names, compare_names);
    return found ? (*found)->layer : -1;
}

int graph_layer_node(const struct graph *graph, int layer) {
    for (int i = 0; i < graph->nnodes; i++)
        if (graph->node[i].layer == layer) return i;
    return -1;
}

const char *graph_nearest_layer(const struct graph *graph,
                                bool (*counts)(const struct graph *graph, int layer), const char *name) {
    const char **names = malloc(((size_t)graph->nlayers + 1) * sizeof *names);
    int n = 0;
    if (!names) return NULL; /* it is but a hint */
    for (int i = 0; i < graph->nlayers; i++)
        if (!counts || counts(graph, i)) names[n++] = graph->layer[i].name;
    const char *near = nearest_word(name, names, n);
    free(names);
    return near;
}

int graph_only_reader(const struct graph *graph, int node) {
    int reader = -1, readers = 0;
    for (int i = 0; i < graph->nnodes; i++)
        for (int k = 0; k < graph->node[i].nin; k++)
            if (graph->node[i].in[k].node == node) {
                reader = i;
                readers++;
            }
    for (int i = 0; i < graph->noutputs; i++) readers += graph->output[i].node == node;
    return readers == 1 ? reader : -1;
}

static status set_input_shape(struct graph *graph, int input, const struct shape *shape) {
    struct layer *layer = &graph->layer[graph->node[graph->input[input].node].layer];
    struct attr *attr = layer_attr(layer, "batch_shape");
    int64_t *v = malloc((size_t)(shape->rank ? shape->rank : 1) * sizeof *v);
    if (!v) return status_no_memory("attribute", (size_t)shape->rank * sizeof *v);
    memcpy(v, shape->dim, (size_t)shape->rank * sizeof *v);
    if (shape->rank) v[0] = SHAPE_UNKNOWN;
    if (attr->present) free(attr->u.ints.v);
    *attr = (struct attr){.present = true, .u.ints = {shape->rank, v}};
    return SUCCESS;
}

status graph_set_input_shapes(struct graph *graph, const struct shape *shape) {
    for (int i = 0; i < graph->ninputs; i++) STATUS_TRY(set_input_shape(graph, i, &shape[i]));
    return graph_infer(graph);
}

#include "io/keras/topology.h"

#include <stdlib.h>

/* What Keras's map_graph() knows of a graph. */
struct search {
    const struct graph *graph;
    int *visited;  /* [nnodes] 0 new, 1 on the stack, 2 finished */
    int *finished; /* [nnodes] nodes in the order in which they are finished: inputs first */
    int nfinished;
    int *met; /* [nlayers] when the search met a layer first, -1 never */
    int nmet;
    int *stack, *next; /* [nnodes] path from an output, and the input to follow next at each node on it */
};

static void meet(struct search *s, int node) {
    int layer = s->graph->node[node].layer;
    s->visited[node] = 1;
    if (s->met[layer] < 0) s->met[layer] = s->nmet++;
}

/* Depth-first from one output. */
static void search_from(struct search *s, int output) {
    int depth = 0;
    if (s->visited[output]) return;
    meet(s, output);
    s->stack[depth] = output;
    s->next[depth++] = 0;
    while (depth) {
        int node = s->stack[depth - 1];
        if (s->next[depth - 1] == s->graph->node[node].nin) {
            s->visited[node] = 2;
            s->finished[s->nfinished++] = node;
            depth--;
            continue;
        }
        int input = s->graph->node[node].in[s->next[depth - 1]++].node;
        if (s->visited[input]) continue;
        meet(s, input);
        s->stack[depth] = input;
        s->next[depth++] = 0;
    }
}

struct ranked {
    int layer, depth, met;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->depth != y->depth) return x->depth > y->depth ? -1 : 1;
    return x->met < y->met ? -1 : x->met > y->met;
}

/* Depth of each layer: its longest way to an output, all its calls taken together. */
static void measure(const struct search *s, int *node_depth, int *layer_depth) {
    for (int i = s->nfinished - 1; i >= 0; i--) {
        const struct node *node = &s->graph->node[s->finished[i]];
        int depth = node_depth[s->finished[i]];
        if (layer_depth[node->layer] > depth) depth = layer_depth[node->layer];
        layer_depth[node->layer] = depth;
        for (int k = 0; k < node->nin; k++)
            if (node_depth[node->in[k].node] < depth + 1) node_depth[node->in[k].node] = depth + 1;
    }
}

status topology_order(const struct graph *graph, int **order, int *n) {
    size_t nodes = (size_t)graph->nnodes + 1, layers = (size_t)graph->nlayers + 1;
    struct search s = {.graph = graph};
    status error = SUCCESS;
    int *memory = calloc(5 * nodes + 2 * layers, sizeof *memory);
    struct ranked *ranked = malloc(layers * sizeof *ranked);
    int *found = malloc(layers * sizeof *found);
    if (!memory || !ranked || !found) {
        error = status_no_memory("an order of layers", (5 * nodes + 2 * layers) * sizeof *memory);
        goto cleanup;
    }
    s.visited = memory;
    s.finished = s.visited + nodes;
    s.stack = s.finished + nodes;
    s.next = s.stack + nodes;
    int *node_depth = s.next + nodes;
    s.met = node_depth + nodes;
    int *layer_depth = s.met + layers;
    for (int i = 0; i < graph->nlayers; i++) s.met[i] = -1;
    for (int i = 0; i < graph->noutputs; i++) search_from(&s, graph->output[i].node);
    /* Inputs that no output needs are kept, last. */
    for (int i = 0; i < graph->ninputs; i++) search_from(&s, graph->input[i].node);
    measure(&s, node_depth, layer_depth);
    int count = 0;
    for (int i = 0; i < graph->nlayers; i++)
        if (s.met[i] >= 0) ranked[count++] = (struct ranked){i, layer_depth[i], s.met[i]};
    qsort(ranked, (size_t)count, sizeof *ranked, compare_ranked);
    for (int i = 0; i < count; i++) found[i] = ranked[i].layer;
    *order = found;
    *n = count;
    found = NULL;
cleanup:
    free(memory);
    free(ranked);
    free(found);
    return error;
}

bool topology_is_chain(const struct graph *graph) {
    if (graph->nnodes != graph->nlayers || graph->ninputs != 1 || graph->noutputs != 1) return false;
    for (int i = 0; i < graph->nnodes; i++) {
        const struct node *node = &graph->node[i];
        bool first = i == 0;
        if (node->nin != (first ? 0 : 1)) return false;
        if (!first && (node->in[0].node != i - 1 || node->in[0].slot != 0)) return false;
    }
    return graph->input[0].node == 0 && graph->output[0].node == graph->nnodes - 1 &&
           graph->output[0].slot == 0;
}

/* Where a model graph can be cut in two.
 *
 * Take the nodes that lie on a path from an input to an output, with a virtual source before the inputs and a
 * virtual sink after the outputs, and go through them in topological order, counting open edges: those that
 * start at a node already passed (or the source) and end at one not yet passed (or the sink). At a node,
 * close the edges that end there. If none is left open, nothing goes around the node: it is an articulation
 * point. Then open the edges that start there. This needs one pass, and does not depend on which topological
 * order it is: if every path goes through a node, all others are before it or after it in any order. */
#include "shared/graph.h"

#include <stdlib.h>

/* Nodes from which an output can be reached, and that can be reached from an input. */
static status mark_live(const struct graph *graph, bool **live) {
    size_t n = (size_t)graph->nnodes;
    bool *from_input = calloc(n + 1, sizeof *from_input), *to_output = calloc(n + 1, sizeof *to_output);
    if (!from_input || !to_output) {
        free(from_input);
        free(to_output);
        return status_no_memory("boundaries", n);
    }
    for (int i = 0; i < graph->ninputs; i++) from_input[graph->input[i].node] = true;
    for (int i = 0; i < graph->noutputs; i++) to_output[graph->output[i].node] = true;
    for (int i = 0; i < graph->nnodes; i++)
        for (int k = 0; k < graph->node[i].nin; k++) from_input[i] |= from_input[graph->node[i].in[k].node];
    for (int i = graph->nnodes - 1; i >= 0; i--)
        for (int k = 0; k < graph->node[i].nin; k++) to_output[graph->node[i].in[k].node] |= to_output[i];
    for (int i = 0; i < graph->nnodes; i++) to_output[i] &= from_input[i];
    free(from_input);
    *live = to_output;
    return SUCCESS;
}

status graph_boundaries(const struct graph *graph, int **nodes, int *n) {
    size_t nnodes = (size_t)graph->nnodes;
    bool *live = NULL;
    int *begin = calloc(nnodes + 1, sizeof *begin),
        *end = calloc(nnodes + 1, sizeof *end); /* edges of each node */
    int *found = calloc(nnodes + 1, sizeof *found);
    status error = begin && end && found ? SUCCESS : status_no_memory("boundaries", nnodes * sizeof *found);
    if (!error) error = mark_live(graph, &live);
    if (error) {
        free(found);
        goto cleanup;
    }
    for (int i = 0; i < graph->ninputs; i++) end[graph->input[i].node]++;
    for (int i = 0; i < graph->noutputs; i++) begin[graph->output[i].node]++;
    for (int i = 0; i < graph->nnodes; i++)
        for (int k = 0; live[i] && k < graph->node[i].nin; k++) {
            int from = graph->node[i].in[k].node;
            if (!live[from]) continue;
            begin[from]++;
            end[i]++;
        }
    int open = 0, count = 0;
    for (int i = 0; i < graph->ninputs; i++) open += live[graph->input[i].node];
    for (int i = 0; i < graph->nnodes; i++) {
        if (!live[i]) continue;
        open -= end[i];
        if (open == 0 && graph->node[i].nout == 1) found[count++] = i;
        open += begin[i];
    }
    *nodes = found;
    *n = count;
cleanup:
    free(begin);
    free(end);
    free(live);
    return error;
}

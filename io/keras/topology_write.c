/* Graph to topology JSON, in the Keras 2 dialect that Keras 3 reads too. */
#include "io/keras/topology.h"
#include "io/keras/topology_layer.h"

#include "io/keras.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static status no_memory(void) {
    return status_no_memory("a topology", 0);
}

/* Number of each node among the calls of its layer; -1 for those that no output needs. */
static void number_calls(const struct graph *graph, int *calls, int *number) {
    for (int i = 0; i < graph->nnodes; i++) number[i] = -1;
    for (int i = 0; i < graph->noutputs; i++) number[graph->output[i].node] = 0;
    for (int i = 0; i < graph->ninputs; i++) number[graph->input[i].node] = 0;
    for (int i = graph->nnodes - 1; i >= 0; i--) /* inputs come before what needs them */
        for (int k = 0; number[i] >= 0 && k < graph->node[i].nin; k++) number[graph->node[i].in[k].node] = 0;
    for (int i = 0; i < graph->nnodes; i++)
        if (number[i] >= 0) number[i] = calls[graph->node[i].layer]++;
}

/* Appends ["name", call, output] or, in a call, ["name", call, output, {}]. */
static bool add_tensor(cJSON *list, const struct graph *graph, struct edge edge, const int *number,
                       bool in_call) {
    cJSON *tensor = cJSON_CreateArray();
    if (!tensor || !cJSON_AddItemToArray(list, tensor)) {
        cJSON_Delete(tensor);
        return false;
    }
    cJSON *items[4] = {cJSON_CreateString(graph->layer[graph->node[edge.node].layer].name),
                       cJSON_CreateNumber(number[edge.node]), cJSON_CreateNumber(edge.slot),
                       in_call ? cJSON_CreateObject() : NULL};
    bool all = true;
    for (int i = 0; i < (in_call ? 4 : 3); i++) {
        if (all && items[i] && cJSON_AddItemToArray(tensor, items[i])) continue;
        cJSON_Delete(items[i]);
        all = false;
    }
    return all;
}

static bool add_call(cJSON *nodes, const struct graph *graph, const struct node *node, const int *number) {
    cJSON *call = cJSON_CreateArray();
    if (!call || !cJSON_AddItemToArray(nodes, call)) {
        cJSON_Delete(call);
        return false;
    }
    for (int k = 0; k < node->nin; k++)
        if (!add_tensor(call, graph, node->in[k], number, true)) return false;
    return true;
}

/* Name and calls of a layer, beside its class and config. */
static bool add_calls(cJSON *json, const struct graph *graph, int layer, const int *number) {
    if (!cJSON_AddStringToObject(json, "name", graph->layer[layer].name)) return false;
    cJSON *nodes = cJSON_AddArrayToObject(json, "inbound_nodes");
    if (!nodes) return false;
    for (int i = 0; i < graph->nnodes; i++)
        if (graph->node[i].layer == layer && number[i] >= 0 && graph->node[i].nin &&
            !add_call(nodes, graph, &graph->node[i], number))
            return false;
    return true;
}

static bool add_ends(cJSON *config, const char *key, const struct graph *graph, int n,
                     const struct edge *edge, const int *number) {
    cJSON *list = cJSON_AddArrayToObject(config, key);
    if (!list) return false;
    for (int i = 0; i < n; i++)
        if (!add_tensor(list, graph, edge[i], number, false)) return false;
    return true;
}

static status fill(cJSON *model, const struct graph *graph, const int *order, int n, const int *number) {
    bool sequential = graph->sequential && topology_is_chain(graph);
    if (!cJSON_AddStringToObject(model, "class_name", sequential ? "Sequential" : "Functional"))
        return no_memory();
    cJSON *config = cJSON_AddObjectToObject(model, "config");
    if (!cJSON_AddStringToObject(config, "name", graph->name)) return no_memory();
    cJSON *layers = cJSON_AddArrayToObject(config, "layers");
    if (!layers) return no_memory();
    for (int i = 0; i < n; i++) {
        cJSON *layer;
        STATUS_TRY(topology_layer_write(&graph->layer[order[i]], &layer));
        if (!cJSON_AddItemToArray(layers, layer)) {
            cJSON_Delete(layer);
            return no_memory();
        }
        if (!sequential && !add_calls(layer, graph, order[i], number)) return no_memory();
    }
    if (sequential) return SUCCESS;
    if (!add_ends(config, "input_layers", graph, graph->ninputs, graph->input, number) ||
        !add_ends(config, "output_layers", graph, graph->noutputs, graph->output, number))
        return no_memory();
    return SUCCESS;
}

status keras_graph_to_json(const struct graph *graph, char **json) {
    status error = SUCCESS;
    int *order = NULL, n;
    cJSON *model = cJSON_CreateObject();
    int *calls = calloc((size_t)graph->nlayers + 1, sizeof *calls),
        *number = calloc((size_t)graph->nnodes + 1, sizeof *number);
    if (!model || !calls || !number) {
        error = no_memory();
        goto cleanup;
    }
    number_calls(graph, calls, number);
    STATUS_GOTO(error, cleanup, topology_order(graph, &order, &n));
    STATUS_GOTO(error, cleanup, fill(model, graph, order, n, number));
    char *printed = cJSON_PrintUnformatted(model);
    char *copy = printed ? strdup(printed) : NULL;
    cJSON_free(printed);
    if (copy) *json = copy;
    else error = no_memory();
cleanup:
    free(order);
    free(calls);
    free(number);
    cJSON_Delete(model);
    return error;
}

/* Graph to topology JSON, in either dialect. */
#include "io/keras/topology.h"
#include "io/keras/topology_layer.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POSITIONAL 1 /* tensors that both Keras take by position; the others by keyword, or in a list */

struct writer {
    const struct graph *graph;
    enum topology_dialect dialect;
    bool sequential;
    int nlayers, *layer;    /* in Keras's order, owned */
    int *number;            /* [nnodes], owned: among the calls of its layer; -1: no output needs it */
    int *first_call, *next; /* [nlayers], [nnodes], owned: the calls of each layer in their order, -1 ends */
};

static status no_memory(void) {
    return status_no_memory("a topology", 0);
}

/* ---- which dialect ---- */

/* Do the inputs of a call need more than one argument? */
static bool has_arguments(const struct layer *layer, int nin) {
    return layer->kind->call_args && nin > MAX_POSITIONAL;
}

enum topology_dialect topology_dialect_of(const struct graph *graph) {
    for (int i = 0; i < graph->nnodes; i++)
        if (has_arguments(&graph->layer[graph->node[i].layer], graph->node[i].nin)) return TOPOLOGY_KERAS3;
    /* Of several axes, Keras 3 forgets all when it reads the dialect of Keras 2. */
    for (int l = 0; l < graph->nlayers; l++)
        for (int i = 0; i < graph->layer[l].kind->nattrs; i++) {
            const struct attr_spec *spec = &graph->layer[l].kind->attrs[i];
            const struct attr *attr = &graph->layer[l].attr[i];
            if (spec->type == ATTR_INTS && attr->present && attr->u.ints.n > 1 && !strcmp(spec->name, "axis"))
                return TOPOLOGY_KERAS3;
        }
    return TOPOLOGY_COMMON;
}

/* Keras 3's hard_sigmoid is another function than that of Keras 2. */
static status check_meaning(const struct layer *layer, const char *name) {
    for (int i = 0; i < layer->kind->nattrs; i++) {
        const struct attr_spec *spec = &layer->kind->attrs[i];
        const struct attr *attr = &layer->attr[i];
        if (!attr->present) continue;
        if (spec->type == ATTR_LAYER) STATUS_TRY(check_meaning(attr->u.layer, name));
        for (int k = 0; spec->type == ATTR_LAYERS && k < attr->u.layers.n; k++)
            STATUS_TRY(check_meaning(&attr->u.layers.v[k], name));
        if (spec->type == ATTR_STRING && !strcmp(attr->u.s, "hard_sigmoid"))
            return status_fail(STATUS_UNSUPPORTED,
                               "layer \"%.80s\" (%s): %s is that of Keras 2, hard_sigmoid, which Keras 3 "
                               "computes otherwise; write the model as .h5 for Keras 2",
                               name, layer->kind->class_name, spec->name);
    }
    return SUCCESS;
}

/* ---- calls ---- */

/* Numbers the calls that outputs need, and lists those of each layer. */
static void number_calls(struct writer *w) {
    const struct graph *graph = w->graph;
    for (int i = 0; i < graph->nnodes; i++) w->number[i] = -1;
    for (int i = 0; i < graph->noutputs; i++) w->number[graph->output[i].node] = 0;
    for (int i = 0; i < graph->ninputs; i++) w->number[graph->input[i].node] = 0;
    for (int i = graph->nnodes - 1; i >= 0; i--) /* inputs come before what needs them */
        for (int k = 0; w->number[i] >= 0 && k < graph->node[i].nin; k++)
            w->number[graph->node[i].in[k].node] = 0;
    for (int l = 0; l < graph->nlayers; l++) w->first_call[l] = -1;
    for (int i = graph->nnodes - 1; i >= 0; i--) {
        if (w->number[i] < 0) continue;
        w->next[i] = w->first_call[graph->node[i].layer];
        w->first_call[graph->node[i].layer] = i;
    }
    for (int l = 0; l < graph->nlayers; l++)
        for (int i = w->first_call[l], n = 0; i >= 0; i = w->next[i]) w->number[i] = n++;
}

static const struct layer *layer_of(const struct writer *w, int node) {
    return &w->graph->layer[w->graph->node[node].layer];
}

static bool append(cJSON *list, cJSON *item) {
    if (cJSON_AddItemToArray(list, item)) return true;
    cJSON_Delete(item);
    return false;
}

/* ["name", call, output] */
static cJSON *tensor_history(const struct writer *w, struct edge edge) {
    cJSON *history = cJSON_CreateArray();
    if (append(history, cJSON_CreateString(layer_of(w, edge.node)->name)) &&
        append(history, cJSON_CreateNumber(w->number[edge.node])) &&
        append(history, cJSON_CreateNumber(edge.slot)))
        return history;
    cJSON_Delete(history);
    return NULL;
}

/* Its dimensions; the batch and what else is unknown are null. */
static cJSON *shape_list(const struct shape *shape) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < shape->rank; i++) {
        bool known = i > 0 && shape->dim[i] != SHAPE_UNKNOWN;
        if (append(list, known ? cJSON_CreateNumber((double)shape->dim[i]) : cJSON_CreateNull())) continue;
        cJSON_Delete(list);
        return NULL;
    }
    return list;
}

static const char *tensor_dtype(const struct writer *w, int node) {
    const struct layer *layer = layer_of(w, node);
    bool said = layer->kind->max_inputs == 0 && layer_has_attr(layer, "dtype");
    return said ? layer_string(layer, "dtype") : "float32";
}

static cJSON *keras_tensor(const struct writer *w, struct edge edge) {
    cJSON *tensor = cJSON_CreateObject(), *config = NULL;
    cJSON *shape = shape_list(&w->graph->node[edge.node].out[edge.slot]), *history = tensor_history(w, edge);
    if (cJSON_AddStringToObject(tensor, "class_name", "__keras_tensor__") &&
        (config = cJSON_AddObjectToObject(tensor, "config")) &&
        cJSON_AddStringToObject(config, "dtype", tensor_dtype(w, edge.node))) {
        if (cJSON_AddItemToObject(config, "shape", shape)) shape = NULL;
        if (cJSON_AddItemToObject(config, "keras_history", history)) history = NULL;
        if (!shape && !history) return tensor;
    }
    cJSON_Delete(shape);
    cJSON_Delete(history);
    cJSON_Delete(tensor);
    return NULL;
}

/* Tensors [first, last) of a call. */
static cJSON *tensor_list(const struct writer *w, const struct node *node, int first, int last) {
    cJSON *list = cJSON_CreateArray();
    for (int k = first; k < last; k++) {
        if (append(list, keras_tensor(w, node->in[k]))) continue;
        cJSON_Delete(list);
        return NULL;
    }
    return list;
}

/* Inputs after the first by their names "query|value|key"; the last name takes all that are left. */
static status add_named(const struct writer *w, const struct node *node, const char *names, cJSON *keywords) {
    names += strcspn(names, "|");
    for (int k = MAX_POSITIONAL; k < node->nin; k++) {
        char name[64];
        if (*names) names++;
        size_t length = strcspn(names, "|");
        bool rest = !names[length] && k + 1 < node->nin;
        if (!length || length >= sizeof name)
            return status_fail(STATUS_INTERNAL, "layer \"%.80s\" has no name for input %d",
                               w->graph->layer[node->layer].name, k);
        memcpy(name, names, length);
        name[length] = 0;
        names += length;
        cJSON *value = rest ? tensor_list(w, node, k, node->nin) : keras_tensor(w, node->in[k]);
        if (!cJSON_AddItemToObject(keywords, name, value)) {
            cJSON_Delete(value);
            return no_memory();
        }
        if (rest) break;
    }
    return SUCCESS;
}

/* {"args": [...], "kwargs": {...}}: tensors with names one by one, a single one alone, others in one list. */
static status fill_keras3_call(const struct writer *w, const struct node *node, cJSON *call) {
    const struct layer *layer = &w->graph->layer[node->layer];
    bool named = layer->kind->call_args, single = named || layer->kind->max_inputs == 1;
    cJSON *args = cJSON_AddArrayToObject(call, "args"), *keywords = cJSON_AddObjectToObject(call, "kwargs");
    if (!keywords ||
        !append(args, single ? keras_tensor(w, node->in[0]) : tensor_list(w, node, 0, node->nin)))
        return no_memory();
    if (named) STATUS_TRY(add_named(w, node, layer->kind->call_args, keywords));
    return topology_call_attrs_write(layer, keywords);
}

/* [["name", call, output, {...}], ...]: keywords beside each tensor. */
static status fill_common_call(const struct writer *w, const struct node *node, cJSON *call) {
    for (int k = 0; k < node->nin; k++) {
        cJSON *tensor = tensor_history(w, node->in[k]), *keywords = cJSON_CreateObject();
        if (!append(call, tensor)) {
            cJSON_Delete(keywords);
            return no_memory();
        }
        if (!append(tensor, keywords)) return no_memory();
        STATUS_TRY(topology_call_attrs_write(&w->graph->layer[node->layer], keywords));
    }
    return SUCCESS;
}

/* Name and calls of a layer, beside its class and config. */
static status add_calls(const struct writer *w, int layer, cJSON *json) {
    bool third = w->dialect == TOPOLOGY_KERAS3;
    cJSON *nodes;
    if (!cJSON_AddStringToObject(json, "name", w->graph->layer[layer].name) ||
        !(nodes = cJSON_AddArrayToObject(json, "inbound_nodes")))
        return no_memory();
    for (int i = w->first_call[layer]; i >= 0; i = w->next[i]) {
        const struct node *node = &w->graph->node[i];
        if (node->nin == 0) continue;
        cJSON *call = third ? cJSON_CreateObject() : cJSON_CreateArray();
        if (!append(nodes, call)) return no_memory();
        STATUS_TRY(third ? fill_keras3_call(w, node, call) : fill_common_call(w, node, call));
    }
    return SUCCESS;
}

/* ---- layers and models ---- */

/* {"input_shape": ...} of a layer with weights and one input, so that Keras 3 can build it by itself. */
static status add_build_config(const struct writer *w, int layer, cJSON *json) {
    int i = w->first_call[layer];
    if (i < 0 || !w->graph->layer[layer].nweights || w->graph->node[i].nin != 1) return SUCCESS;
    struct edge from = w->graph->node[i].in[0];
    cJSON *build = cJSON_AddObjectToObject(json, "build_config");
    cJSON *shape = shape_list(&w->graph->node[from.node].out[from.slot]);
    if (build && cJSON_AddItemToObject(build, "input_shape", shape)) return SUCCESS;
    cJSON_Delete(shape);
    return no_memory();
}

static status add_layer(const struct writer *w, int layer, cJSON *layers) {
    cJSON *json;
    if (w->dialect == TOPOLOGY_KERAS3 && w->graph->keras_version < 3)
        STATUS_TRY(check_meaning(&w->graph->layer[layer], w->graph->layer[layer].name));
    STATUS_TRY(topology_layer_write(&w->graph->layer[layer], w->dialect, &json));
    if (!append(layers, json)) return no_memory();
    if (w->dialect == TOPOLOGY_KERAS3) STATUS_TRY(add_build_config(w, layer, json));
    return w->sequential ? SUCCESS : add_calls(w, layer, json);
}

static bool add_ends(const struct writer *w, cJSON *config, const char *key, int n, const struct edge *edge) {
    cJSON *list = cJSON_AddArrayToObject(config, key);
    for (int i = 0; i < n; i++)
        if (!append(list, tensor_history(w, edge[i]))) return false;
    return list != NULL;
}

/* Where Keras 3 finds the model's class. */
static bool add_model_class(const struct writer *w, cJSON *model) {
    const char *class_name = w->sequential ? "Sequential" : "Functional";
    if (!cJSON_AddStringToObject(model, "class_name", class_name)) return false;
    if (w->dialect != TOPOLOGY_KERAS3) return true;
    if (w->sequential)
        return cJSON_AddStringToObject(model, "module", "keras") &&
               cJSON_AddNullToObject(model, "registered_name");
    return cJSON_AddStringToObject(model, "module", "keras.src.models.functional") &&
           cJSON_AddStringToObject(model, "registered_name", class_name);
}

/* "trainable", and for a Sequential its policy and the shape it was built for. */
static bool add_keras3_config(const struct writer *w, cJSON *config) {
    if (!cJSON_AddTrueToObject(config, "trainable")) return false;
    if (!w->sequential) return true;
    cJSON *policy = topology_policy(), *shape = shape_list(&w->graph->node[w->graph->input[0].node].out[0]);
    if (cJSON_AddItemToObject(config, "dtype", policy)) policy = NULL;
    if (cJSON_AddItemToObject(config, "build_input_shape", shape)) shape = NULL;
    cJSON_Delete(policy);
    cJSON_Delete(shape);
    return !policy && !shape;
}

static status fill(const struct writer *w, cJSON *model) {
    cJSON *config, *layers;
    if (!add_model_class(w, model) || !(config = cJSON_AddObjectToObject(model, "config")) ||
        !cJSON_AddStringToObject(config, "name", w->graph->name) ||
        (w->dialect == TOPOLOGY_KERAS3 && !add_keras3_config(w, config)) ||
        !(layers = cJSON_AddArrayToObject(config, "layers")))
        return no_memory();
    for (int i = 0; i < w->nlayers; i++) STATUS_TRY(add_layer(w, w->layer[i], layers));
    if (w->sequential) return SUCCESS;
    if (!add_ends(w, config, "input_layers", w->graph->ninputs, w->graph->input) ||
        !add_ends(w, config, "output_layers", w->graph->noutputs, w->graph->output))
        return no_memory();
    return SUCCESS;
}

status topology_write(const struct graph *graph, enum topology_dialect dialect, char **json) {
    struct writer w = {.graph = graph, .dialect = dialect};
    status error = SUCCESS;
    cJSON *model = cJSON_CreateObject();
    w.number = calloc((size_t)graph->nnodes + 1, sizeof *w.number);
    w.next = calloc((size_t)graph->nnodes + 1, sizeof *w.next);
    w.first_call = calloc((size_t)graph->nlayers + 1, sizeof *w.first_call);
    if (!model || !w.number || !w.next || !w.first_call) {
        error = no_memory();
        goto cleanup;
    }
    w.sequential = graph->sequential && topology_is_chain(graph);
    number_calls(&w);
    STATUS_GOTO(error, cleanup, topology_order(graph, &w.layer, &w.nlayers));
    STATUS_GOTO(error, cleanup, fill(&w, model));
    char *printed = cJSON_PrintUnformatted(model);
    char *copy = printed ? strdup(printed) : NULL;
    cJSON_free(printed);
    if (copy) *json = copy;
    else error = no_memory();
cleanup:
    free(w.layer);
    free(w.number);
    free(w.next);
    free(w.first_call);
    cJSON_Delete(model);
    return error;
}

status keras_graph_to_json(const struct graph *graph, char **json) {
    return topology_write(graph, topology_dialect_of(graph), json);
}

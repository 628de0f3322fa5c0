/* Topology JSON to graph. */
#include "io/keras/topology_alias.h"
#include "io/keras/topology_build.h"
#include "io/keras/topology_keras1.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void topology_clear(struct topology *topology) {
    graph_destroy(&topology->graph);
    for (int i = 0; i < topology->ntop; i++) free(topology->top_name[i]);
    free(topology->top_name);
    free(topology->top_of);
    for (int i = 0; i < topology->nlayers; i++) free(topology->group[i]);
    free(topology->group);
    *topology = (struct topology){0};
}

/* Keras 3 writes keys that Keras 2 does not know. */
static int guess_version(const char *text, size_t length) {
    static const char *const keras3[] = {"\"__keras_tensor__\"", "\"batch_shape\"", "\"DTypePolicy\""};
    for (size_t i = 0; i < sizeof keras3 / sizeof *keras3; i++)
        if (memmem(text, length, keras3[i], strlen(keras3[i]))) return 3;
    return 2;
}

/* A missing shape shows only here: inputs of inner models need none. */
static status check_inputs(const struct topology_scope *scope) {
    for (int k = 0; k < scope->ninputs; k++) {
        const struct layer *layer = &scope->entry[scope->input[k].entry].chain.first;
        for (int i = 0; layer->kind && i < layer->kind->nattrs; i++)
            if (layer->kind->attrs[i].type == ATTR_SHAPE && !layer->attr[i].present)
                return status_fail(STATUS_DATA,
                                   "model \"%.80s\" has no input shape; build it, or give its first layer an "
                                   "input shape, and save it again",
                                   scope->name);
    }
    return SUCCESS;
}

static status build(struct topology *t, struct topology_scope *scope,
                    const struct topology_reading *reading) {
    struct topology_builder builder = {.topology = t, .reading = reading};
    STATUS_TRY(check_inputs(scope));
    STATUS_TRY(graph_create(scope->name, &t->graph));
    t->graph->keras_version = reading->keras_version;
    t->graph->sequential = scope->sequential;
    t->top_name = calloc((size_t)scope->nentries, sizeof *t->top_name);
    if (!t->top_name) return status_no_memory("a topology", (size_t)scope->nentries * sizeof *t->top_name);
    for (; t->ntop < scope->nentries; t->ntop++) {
        t->top_name[t->ntop] = strdup(scope->entry[t->ntop].name);
        if (!t->top_name[t->ntop]) return status_no_memory("a topology", 0);
    }
    status error = topology_add_layers(&builder, scope);
    if (!error) error = topology_add_nodes(&builder, scope);
    topology_builder_clear(&builder);
    return error;
}

/* Are the attributes there that have to be, of the layer and of those it wraps? One whose value is
 * unsupported is among the problems already. */
static bool is_complete(const struct layer *layer) {
    for (int i = 0; i < layer->kind->nattrs; i++) {
        const struct attr_spec *spec = &layer->kind->attrs[i];
        const struct attr *attr = &layer->attr[i];
        if (!attr->present && !spec->initial) return false;
        if (!attr->present) continue;
        if (spec->type == ATTR_LAYER && !is_complete(attr->u.layer)) return false;
        for (int k = 0; spec->type == ATTR_LAYERS && k < attr->u.layers.n; k++)
            if (!is_complete(&attr->u.layers.v[k])) return false;
    }
    return true;
}

/* Options that a kind refuses, of a layer and of those it wraps. */
static status check_layer(const struct layer *layer, const char *where, struct problems *problems) {
    if (!layer->kind) return SUCCESS;
    status error = layer->kind->check && is_complete(layer) ? layer->kind->check(layer) : SUCCESS;
    if (status_code(error) == STATUS_UNSUPPORTED) {
        problems_add(problems, "%s: %s", where, status_message(error));
        status_drop(&error);
    }
    STATUS_TRY(status_context(error, "%s", where));
    for (int i = 0; i < layer->kind->nattrs; i++) {
        const struct attr_spec *spec = &layer->kind->attrs[i];
        bool list = spec->type == ATTR_LAYERS;
        if ((spec->type != ATTR_LAYER && !list) || !layer->attr[i].present) continue;
        for (int k = 0; k < (list ? layer->attr[i].u.layers.n : 1); k++) {
            const struct layer *inner = list ? &layer->attr[i].u.layers.v[k] : layer->attr[i].u.layer;
            char *there = NULL;
            if (asprintf(&there, "%s: %s (%s)", where, spec->name, inner->kind->class_name) < 0)
                return status_no_memory("a topology", 0);
            error = check_layer(inner, there, problems);
            free(there);
            STATUS_TRY(error);
        }
    }
    return SUCCESS;
}

static status check_named(const char *name, const struct layer *layer, struct problems *problems) {
    char *where = NULL;
    if (!layer->kind) return SUCCESS;
    if (asprintf(&where, "layer \"%.80s\" (%s)", name, layer->kind->class_name) < 0)
        return status_no_memory("a topology", 0);
    status error = check_layer(layer, where, problems);
    free(where);
    return error;
}

static status check_options(const struct topology_scope *scope, struct problems *problems) {
    for (int i = 0; i < scope->nentries; i++) {
        const struct topology_entry *entry = &scope->entry[i];
        if (entry->nested) STATUS_TRY(check_options(entry->nested, problems));
        problems->about = entry;
        STATUS_TRY(check_named(entry->name, &entry->chain.first, problems));
        for (int k = 0; k < entry->chain.ntails; k++)
            STATUS_TRY(check_named(entry->name, &entry->chain.tail[k].layer, problems));
    }
    return SUCCESS;
}

/* The model in {"model_config": {...}} or {"modelTopology": {"model_config": ...}}, and the version that is
 * said beside it, if it is not known. */
static cJSON *find_model(cJSON *json, int *keras_version) {
    static const char *const around[] = {"modelTopology", "model_config"};
    for (size_t i = 0;; i++) {
        const char *version = topology_string(json, "keras_version");
        if (!*keras_version && version) *keras_version = atoi(version);
        if (i == sizeof around / sizeof *around) return json;
        cJSON *inner = cJSON_GetObjectItemCaseSensitive(json, around[i]);
        if (cJSON_IsObject(inner)) json = inner;
    }
}

status topology_read(const char *json, int keras_version, const struct keras_options *options,
                     struct topology *topology) {
    return topology_read_text(json, strlen(json), keras_version, options, topology);
}

status topology_read_text(const char *text, size_t length, int keras_version,
                          const struct keras_options *options, struct topology *topology) {
    struct problems *unsupported = options ? options->unsupported : NULL;
    cJSON *json = NULL;
    struct topology_scope *scope = NULL;
    struct topology_aliases *aliases = NULL;
    struct problems problems = {0};
    struct topology t = {0};
    status error = SUCCESS;
    if (options && options->aliases)
        STATUS_GOTO(error, cleanup, topology_aliases_read(options->aliases, &aliases));
    STATUS_GOTO(error, cleanup, topology_parse_bytes(text, length, &json));

    cJSON *model = find_model(json, &keras_version);
    if (keras_version == 1 || (keras_version < 1 && topology_is_keras1(model))) {
        keras_version = 1;
        STATUS_GOTO(error, cleanup, topology_keras1_convert(model));
    }
    if (keras_version < 1) keras_version = guess_version(text, length);

    struct topology_count count = {0};
    struct topology_reading reading = {
        .keras_version = keras_version, .aliases = aliases, .problems = &problems, .count = &count};
    STATUS_GOTO(error, cleanup, topology_scope_read(model, &reading, &scope));
    STATUS_GOTO(error, cleanup, check_options(scope, &problems));
    error = build(&t, scope, &reading);
    if (problems.n && !unsupported &&
        status_code(error) != STATUS_MEMORY) { /* the rest may follow from them */
        status_drop(&error);
        error = problems_take(&problems);
    }
    if (error) goto cleanup;
    if (unsupported) { /* `about` points to what ends here */
        for (int i = 0; i < problems.n; i++) problems.problem[i].about = NULL;
        problems.about = NULL;
        problems_clear(unsupported);
        *unsupported = problems;
        problems = (struct problems){0};
    }
    *topology = t;
    t = (struct topology){0};
cleanup:
    topology_clear(&t);
    problems_clear(&problems);
    topology_scope_destroy(&scope);
    topology_aliases_destroy(&aliases);
    cJSON_Delete(json);
    return error;
}

/* A layer that is known to be unsupported, or now turns out to be, is passed over. */
static status refuse_node(void *context, const struct graph *graph, int node, status error) {
    struct problems *problems = context;
    int layer = graph->node[node].layer;
    bool unsupported = status_code(error) == STATUS_UNSUPPORTED;
    if (!unsupported && !problems_has_layer(problems, layer)) return error;
    if (unsupported && !problems_has_layer(problems, layer)) {
        problems->about = &graph->layer[layer];
        problems_add(problems, "%s", status_message(error));
        problems_place(problems, problems->about, layer);
        problems->about = NULL;
    }
    status_drop(&error);
    return SUCCESS;
}

struct graph_tolerance keras_tolerance(struct problems *problems) {
    return (struct graph_tolerance){refuse_node, problems};
}

status topology_infer(struct topology *topology, const struct keras_options *options) {
    if (!options || !options->unsupported) return graph_infer(topology->graph);
    struct graph_tolerance tolerance = keras_tolerance(options->unsupported);
    return graph_infer_known(topology->graph, &tolerance);
}

status keras_graph_from_text(const char *text, size_t length, const struct keras_options *options,
                             struct graph **graph) {
    struct topology t = {0};
    STATUS_TRY(topology_read_text(text, length, 0, options, &t));
    status error = topology_infer(&t, options);
    if (!error) {
        *graph = t.graph;
        t.graph = NULL;
    }
    topology_clear(&t);
    return error;
}

status keras_graph_from_json(const char *json, struct graph **graph) {
    return keras_graph_from_text(json, strlen(json), NULL, graph);
}

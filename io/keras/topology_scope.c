/* One model's JSON: its layers, its calls, its inputs and outputs, and the models inside it. */
#include "io/keras/topology_json.h"
#include "io/keras/topology_op.h"
#include "io/keras/topology_scope.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sequential of Keras 2.0 to 2.2 is a bare list of layers. */
static const cJSON *layers_of(const cJSON *config) {
    return cJSON_IsArray(config) ? config : topology_member(config, "layers");
}

bool topology_is_model(const cJSON *json) {
    return cJSON_IsArray(layers_of(topology_member(json, "config")));
}

void topology_scope_destroy(struct topology_scope **scope) {
    struct topology_scope *s = *scope;
    if (!s) return;
    for (int i = 0; i < s->nentries; i++) {
        struct topology_entry *entry = &s->entry[i];
        for (int c = 0; c < entry->ncalls; c++) {
            free(entry->call[c].in);
            free(entry->call[c].mask);
            topology_args_clear(&entry->call[c].args);
        }
        free(entry->call);
        free(entry->name);
        free(entry->class_name);
        topology_chain_clear(&entry->chain);
        topology_scope_destroy(&entry->nested);
    }
    free(s->entry);
    free(s->input);
    free(s->output);
    free(s->name);
    free(s);
    *scope = NULL;
}

/* The name of a layer: beside its config (functional), in it, or none at all (a Sequential of Keras 2.0
 * inside another); then its class and place. */
static char *name_of(const cJSON *json, int place) {
    const cJSON *name = topology_member(json, "name");
    if (!cJSON_IsString(name) || !*name->valuestring)
        name = topology_member(topology_member(json, "config"), "name");
    if (cJSON_IsString(name) && *name->valuestring) return strdup(name->valuestring);
    const cJSON *class_name = topology_member(json, "class_name");
    char *made = NULL;
    if (asprintf(&made, "%s_%d", cJSON_IsString(class_name) ? class_name->valuestring : "layer", place) < 0)
        return NULL;
    return made;
}

/* Its class; a functional model was once just a "Model". */
static char *class_of(const cJSON *json) {
    const char *class_name = topology_string(json, "class_name");
    if (class_name && topology_is_model(json) && !strcmp(class_name, "Model")) class_name = "Functional";
    return strdup(class_name ? class_name : "?");
}

static status read_entry(const cJSON *json, const struct topology_reading *reading,
                         struct topology_entry *entry) {
    if (topology_is_model(json)) return topology_scope_read(json, reading, &entry->nested);
    if (topology_is_op(json)) {
        entry->op = json;
        return SUCCESS;
    }
    reading->problems->about = entry;
    STATUS_TRY(topology_chain_read(json, entry->name, reading, &entry->chain));
    entry->input = entry->chain.first.kind && entry->chain.first.kind->max_inputs == 0;
    return SUCCESS;
}

/* The shape a Sequential without an input layer was built for: JSON of its dimensions, or NULL. */
static const cJSON *built_shape(const cJSON *layers, const cJSON *config) {
    static const char *const keys[] = {"batch_input_shape", "batch_shape"};
    const cJSON *first = topology_member(layers->child, "config");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (cJSON_IsArray(topology_member(first, keys[i]))) return topology_member(first, keys[i]);
    const cJSON *shape = topology_unwrap(topology_member(config, "build_input_shape"));
    if (!cJSON_IsArray(shape))
        shape = topology_unwrap(topology_member(topology_member(config, "build_config"), "input_shape"));
    return cJSON_IsArray(shape) ? shape : NULL;
}

/* The shape attribute of an input layer, wherever its kind keeps it. */
static int shape_attr(const struct layer_kind *kind) {
    for (int i = 0; i < kind->nattrs; i++)
        if (kind->attrs[i].type == ATTR_SHAPE) return i;
    return -1;
}

/* The input layer of the first model inside, for a Sequential that begins with a model. */
static const struct layer *first_input(const struct topology_scope *scope) {
    while (scope && scope->ninputs) {
        const struct topology_entry *entry = &scope->entry[scope->input[0].entry];
        if (entry->input) return entry->chain.first.kind ? &entry->chain.first : NULL;
        scope = entry->nested;
    }
    return NULL;
}

static status make_input(const cJSON *layers, const cJSON *config, const struct topology_scope *scope,
                         struct topology_entry *entry, struct problems *problems) {
    const struct layer_kind *kind = topology_input_kind();
    int shape = kind ? shape_attr(kind) : -1;
    if (shape < 0) return status_fail(STATUS_INTERNAL, "there is no kind of input layer");
    entry->input = true;
    entry->index = -1;
    if (asprintf(&entry->name, "%s_input", scope->entry[1].name) < 0) entry->name = NULL;
    entry->class_name = strdup(kind->class_name);
    if (!entry->name || !entry->class_name) return status_no_memory("a topology", 0);
    STATUS_TRY(layer_create(kind, entry->name, &entry->chain.first));
    /* Keras 1 says the type of the input, which is not that of the layer. */
    const cJSON *dtype = topology_member(topology_member(layers->child, "config"), "input_dtype");
    for (int i = 0; cJSON_IsString(dtype) && i < kind->nattrs; i++)
        if (!strcmp(kind->attrs[i].name, "dtype"))
            STATUS_TRY(topology_attr_read(&kind->attrs[i], dtype, entry->name, &entry->chain.first.attr[i],
                                          problems));
    const cJSON *built = built_shape(layers, config);
    if (built)
        return topology_attr_read(&kind->attrs[shape], built, entry->name, &entry->chain.first.attr[shape],
                                  problems);
    const struct layer *inner = first_input(scope->entry[1].nested);
    if (!inner || !inner->attr[shape].present)
        return SUCCESS; /* unknown: needed only by the outermost model */
    attr_clear(&kind->attrs[shape], &entry->chain.first.attr[shape]);
    return attr_copy(&kind->attrs[shape], &inner->attr[shape], &entry->chain.first.attr[shape]);
}

/* Each layer is called once, on what the one before it gives. */
static status chain(struct topology_scope *scope) {
    for (int i = 0; i < scope->nentries; i++) {
        struct topology_entry *entry = &scope->entry[i];
        entry->call = calloc(1, sizeof *entry->call);
        if (!entry->call) return status_no_memory("a topology", sizeof *entry->call);
        entry->ncalls = 1;
        if (i == 0) continue;
        entry->call->in = calloc(1, sizeof *entry->call->in);
        if (!entry->call->in) return status_no_memory("a topology", sizeof *entry->call->in);
        entry->call->nin = 1;
        entry->call->in[0] = (struct topology_ref){i - 1, 0, 0};
    }
    scope->input = calloc(1, sizeof *scope->input);
    scope->output = calloc(1, sizeof *scope->output);
    if (!scope->input || !scope->output) return status_no_memory("a topology", sizeof *scope->input);
    scope->ninputs = scope->noutputs = 1;
    scope->output[0] = (struct topology_ref){scope->nentries - 1, 0, 0};
    return SUCCESS;
}

static status read_entries(const cJSON *layers, const cJSON *config, const struct topology_reading *reading,
                           struct topology_scope *scope) {
    int n = cJSON_GetArraySize(layers);
    if (n == 0) return status_fail(STATUS_DATA, "model \"%.80s\" has no layers", scope->name);
    STATUS_TRY(topology_count_layers(reading, n));
    scope->entry = calloc((size_t)n + 1, sizeof *scope->entry);
    if (!scope->entry) return status_no_memory("a topology", (size_t)n * sizeof *scope->entry);

    /* A Sequential may lack its input layer; entry 0 is kept for it. */
    int first = 0;
    if (scope->sequential) {
        const cJSON *class_name = topology_member(layers->child, "class_name");
        const struct layer_kind *kind =
            cJSON_IsString(class_name) ? layer_kind_find(class_name->valuestring) : NULL;
        first = kind && kind->max_inputs == 0 ? 0 : 1;
    }
    scope->nentries = first;
    for (const cJSON *json = layers->child; json; json = json->next) {
        if (!cJSON_IsObject(json))
            return status_fail(STATUS_DATA, "model \"%.80s\": layer %d is not an object", scope->name,
                               scope->nentries - first);
        struct topology_entry *entry = &scope->entry[scope->nentries++];
        entry->index = -1;
        entry->name = name_of(json, scope->nentries - first);
        entry->class_name = class_of(json);
        if (!entry->name || !entry->class_name) return status_no_memory("a topology", 0);
        STATUS_TRY(read_entry(json, reading, entry));
    }
    if (first) STATUS_TRY(make_input(layers, config, scope, &scope->entry[0], reading->problems));
    return SUCCESS;
}

status topology_scope_read(const cJSON *json, const struct topology_reading *reading,
                           struct topology_scope **scope) {
    const cJSON *config = topology_member(json, "config");
    const cJSON *layers = layers_of(config);
    if (!cJSON_IsArray(layers))
        return status_fail(STATUS_DATA, "the topology has no list of layers: only Sequential and functional "
                                        "models are kept with their topology");
    struct topology_scope *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("a topology", sizeof *s);
    status error = SUCCESS;
    s->sequential = !cJSON_IsArray(topology_member(config, "input_layers")) &&
                    !cJSON_IsObject(topology_member(config, "input_layers"));
    s->trainable = !cJSON_IsFalse(topology_member(config, "trainable"));
    s->name = name_of(json, 0);
    if (!s->name) {
        error = status_no_memory("a topology", 0);
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, read_entries(layers, config, reading, s));
    STATUS_GOTO(error, cleanup, s->sequential ? chain(s) : topology_calls_read(layers, config, reading, s));
    *scope = s;
    return SUCCESS;
cleanup:
    topology_scope_destroy(&s);
    return error;
}

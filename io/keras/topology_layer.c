/* One layer: JSON to struct layer and back, by the kind's attribute table. */
#include "io/keras/topology_alias.h"
#include "io/keras/topology_json.h"
#include "io/keras/topology_layer.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INNER_LAYERS 64 /* in a list */

/* Keys that change nothing in what a trained layer computes. */
static const char *const no_effect[] = {
    "name",
    "trainable",
    "batch_input_shape",
    "batch_shape",
    "batch_size",
    "input_dtype",
    "module",
    "registered_name",
    "build_config",
    "seed",
    "autocast",
    "implementation",
    "unroll",
    "fused",
    "synchronized",
    "renorm_clipping",
    "renorm_momentum",
    "bias_lr_multiplier",
    "unit_forget_bias",
    "input_length",
    "query_shape",
    "key_shape",
    "value_shape",
};
static const char *const no_effect_suffix[] = {"_initializer", "_regularizer", "_constraint"};

/* Values that mean "not used" where a kind has no such attribute. */
static const struct {
    const char *key, *text;
} unused[] = {
    {"groups", "1"}, {"data_format", "channels_last"}, {"dropout", "0"}, {"recurrent_dropout", "0"}};

static bool ends_with(const char *text, const char *suffix) {
    size_t a = strlen(text), b = strlen(suffix);
    return a >= b && !strcmp(text + a - b, suffix);
}

static bool is_text(const cJSON *json, const char *text) {
    if (cJSON_IsString(json)) return !strcmp(json->valuestring, text);
    return cJSON_IsNumber(json) && json->valuedouble == strtod(text, NULL);
}

/* A list (perhaps of lists) of ones, or a one. */
static bool all_ones(const cJSON *json) {
    if (!cJSON_IsArray(json)) return cJSON_IsNumber(json) && json->valuedouble == 1;
    for (const cJSON *item = json->child; item; item = item->next)
        if (!all_ones(item)) return false;
    return true;
}

static bool is_harmless(const cJSON *item) {
    const char *key = item->string;
    for (size_t i = 0; i < sizeof no_effect / sizeof *no_effect; i++)
        if (!strcmp(key, no_effect[i])) return true;
    for (size_t i = 0; i < sizeof no_effect_suffix / sizeof *no_effect_suffix; i++)
        if (ends_with(key, no_effect_suffix[i])) return true;
    const cJSON *value = topology_unwrap(item);
    if (cJSON_IsNull(value) || cJSON_IsFalse(value)) return true;
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (!strcmp(key, unused[i].key) && is_text(value, unused[i].text)) return true;
    return !strcmp(key, "dilation_rate") && all_ones(value);
}

/* The name in "float32", {"class_name": "Policy", "config": {"name": ...}}, {"module": "keras", "class_name":
 * "DTypePolicy", ...}; NULL if it is none. */
static const cJSON *policy_name(const cJSON *item) {
    const cJSON *value = topology_unwrap(item);
    const char *class_name = topology_string(value, "class_name");
    if (class_name && strncmp(class_name, "Policy", 6) && strcmp(class_name, "DTypePolicy") &&
        strcmp(class_name, "FloatDTypePolicy"))
        return NULL;
    return class_name ? topology_member(topology_member(value, "config"), "name") : value;
}

/* All floating-point policies are computed in float32. */
static void check_dtype(const cJSON *item, const char *where, struct problems *problems) {
    static const char *const floats[] = {"float32",  "float64",       "float16",
                                         "bfloat16", "mixed_float16", "mixed_bfloat16"};
    const cJSON *name = policy_name(item);
    if (cJSON_IsNull(name)) return;
    for (size_t i = 0; cJSON_IsString(name) && i < sizeof floats / sizeof *floats; i++)
        if (!strcmp(name->valuestring, floats[i])) return;
    char text[TOPOLOGY_TEXT_MAX];
    problems_add(problems, "%s: dtype = %s", where, topology_text(topology_unwrap(item), text));
}

/* Is this what a module or a package of Keras's own begins with? */
static bool is_own(const char *name, char separator) {
    static const char *const own[] = {"keras", "Keras", "tf_keras", "keras_core", "tensorflow", "builtins"};
    size_t length = strcspn(name, (char[]){separator, 0});
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strlen(own[i]) == length && !strncmp(name, own[i], length)) return true;
    return false;
}

bool topology_is_custom(const cJSON *json) {
    const char *names[] = {topology_string(json, "registered_name"), topology_string(json, "class_name")};
    const char *module = topology_string(json, "module");
    for (int i = 0; i < 2; i++)
        if (names[i] && strchr(names[i], '>') && !is_own(names[i], '>')) return true;
    return module && !is_own(module, '.');
}

static bool is_of_layers(const struct attr_spec *spec) {
    return spec->type == ATTR_LAYER || spec->type == ATTR_LAYERS;
}

/* An activation that is a layer, {"class_name": "LeakyReLU", ...}, of a layer that ends with its activation:
 * NULL if it is none. */
static const cJSON *activation_layer(const cJSON *config, const struct layer_kind *kind) {
    const cJSON *activation = topology_member(config, "activation");
    const char *class_name = topology_string(activation, "class_name");
    const struct layer_kind *found = class_name ? layer_kind_find(class_name) : NULL;
    bool ends = false;
    if (!found || topology_is_custom(activation) || found->min_inputs != 1 || found->max_inputs != 1)
        return NULL;
    for (int i = 0; i < kind->nattrs; i++) {
        if (!strcmp(kind->attrs[i].name, "activation")) ends = true;
        if (is_of_layers(&kind->attrs[i]) || !strcmp(kind->attrs[i].name, "return_sequences")) return NULL;
    }
    return ends ? activation : NULL;
}

static status read_inner(const cJSON *json, const struct topology_reading *reading, const char *where,
                         struct layer *inner) {
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(json, "config");
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "name"));
    if (!cJSON_IsObject(json)) return status_fail(STATUS_DATA, "%s: the inner layer is not a layer", where);
    if (topology_is_model(json)) {
        problems_add(reading->problems, "%s: wraps a model, \"%.80s\"", where, name ? name : "");
        *inner = (struct layer){0};
        return SUCCESS;
    }
    return status_context(topology_layer_read(json, name ? name : "inner", reading, inner), "%s", where);
}

/* The layer that a wrapper wraps, or the list of them. If the class of one is unknown the attribute stays
 * absent. */
static status read_layers(const struct attr_spec *spec, const cJSON *json,
                          const struct topology_reading *reading, const char *where, struct attr *attr) {
    bool list = spec->type == ATTR_LAYERS;
    if (cJSON_IsNull(json)) return SUCCESS;
    if (list && !cJSON_IsArray(json))
        return status_fail(STATUS_DATA, "%s: %s is not a list", where, spec->name);
    int n = list ? cJSON_GetArraySize(json) : 1, read = 0;
    if (n > MAX_INNER_LAYERS)
        return status_fail(STATUS_DATA, "%s: %s has %d layers; at most %d are allowed", where, spec->name, n,
                           MAX_INNER_LAYERS);
    STATUS_TRY(topology_count_layers(reading, n));
    struct layer *v = malloc((size_t)(n ? n : 1) * sizeof *v);
    if (!v) return status_no_memory("a layer", (size_t)n * sizeof *v);
    status error = SUCCESS;
    const cJSON *item = list ? json->child : json;
    for (int i = 0; i < n && !error; i++, item = item->next) {
        error = read_inner(item, reading, where, &v[read]);
        if (!error && v[read].kind) read++;
    }
    if (error || read < n) {
        for (int i = 0; i < read; i++) layer_clear(&v[i]);
        free(v);
        return error;
    }
    *attr = (struct attr){.present = true};
    if (list) {
        attr->u.layers.n = n;
        attr->u.layers.v = v;
    } else {
        attr->u.layer = v;
    }
    return SUCCESS;
}

/* Does a layer within this one say the same? TensorFlow.js puts what RNN's cell has beside the cell again. */
static bool is_repeated(const struct layer_kind *kind, const cJSON *config, const cJSON *item) {
    for (int i = 0; i < kind->nattrs; i++) {
        if (kind->attrs[i].type != ATTR_LAYER) continue;
        const cJSON *inner = topology_member(config, kind->attrs[i].name);
        if (cJSON_Compare(item, topology_member(topology_member(inner, "config"), item->string), true))
            return true;
    }
    return false;
}

/* Attributes; one that is `apart` is "linear". */
static status read_attrs(const cJSON *config, const struct topology_reading *reading, const char *where,
                         const cJSON *apart, struct layer *layer) {
    const struct layer_kind *kind = layer->kind;
    struct problems *problems = reading->problems;
    for (int i = 0; i < kind->nattrs; i++) {
        const struct attr_spec *spec = &kind->attrs[i];
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, spec->name);
        const cJSON *other = spec->keras2 ? cJSON_GetObjectItemCaseSensitive(config, spec->keras2) : NULL;
        if (other && (!item || reading->keras_version < 3)) item = other;
        if (item && !strcmp(spec->name, "dtype")) { /* of an input; what a policy computes in is no matter */
            const cJSON *name = policy_name(item);
            if (cJSON_IsString(name) && !strncmp(name->valuestring, "mixed_", 6)) continue;
            if (name) item = name;
        }
        if (item && item == apart) {
            attr_clear(spec, &layer->attr[i]);
            STATUS_TRY(attr_parse(spec, "linear", &layer->attr[i]));
            continue;
        }
        if (item && is_of_layers(spec)) STATUS_TRY(read_layers(spec, item, reading, where, &layer->attr[i]));
        else if (item) STATUS_TRY(topology_attr_read(spec, item, where, &layer->attr[i], problems));
        else if (!spec->initial) return status_fail(STATUS_DATA, "%s: %s is missing", where, spec->name);
    }
    for (const cJSON *item = config->child; item; item = item->next) {
        bool known = false;
        for (int i = 0; i < kind->nattrs && !known; i++)
            known = !strcmp(item->string, kind->attrs[i].name) ||
                    (kind->attrs[i].keras2 && !strcmp(item->string, kind->attrs[i].keras2));
        if (known) continue;
        char text[TOPOLOGY_TEXT_MAX];
        if (!strcmp(item->string, "dtype")) check_dtype(item, where, problems);
        else if (!is_harmless(item) && !is_repeated(kind, config, item))
            problems_add(problems, "%s: %s = %s", where, item->string, topology_text(item, text));
    }
    const cJSON *trainable = cJSON_GetObjectItemCaseSensitive(config, "trainable");
    layer->trainable = !cJSON_IsFalse(trainable);
    return SUCCESS;
}

status topology_count_layers(const struct topology_reading *reading, int n) {
    struct topology_count *count = reading->count;
    if (n <= TOPOLOGY_MAX_LAYERS - count->nlayers) {
        count->nlayers += n;
        return SUCCESS;
    }
    return status_fail(STATUS_DATA, "the model has more than %d layers", TOPOLOGY_MAX_LAYERS);
}

status topology_count_calls(const struct topology_reading *reading, int n) {
    struct topology_count *count = reading->count;
    if (n <= TOPOLOGY_MAX_CALLS - count->ncalls) {
        count->ncalls += n;
        return SUCCESS;
    }
    return status_fail(STATUS_DATA, "the model has more than %d calls of layers", TOPOLOGY_MAX_CALLS);
}

static void refuse_class(const cJSON *json, const char *name, const struct topology_reading *reading) {
    const char *class_name = topology_string(json, "class_name");
    const char *why = !strcmp(class_name, "Lambda") ? ": code in a model is never run"
                      : topology_is_custom(json)
                          ? ": a custom class; --aliases can say which known layers it stands for"
                          : "";
    problems_add(reading->problems, "layer \"%.80s\" (%.80s)%s", name, class_name, why);
}

/* One layer as it stands. If `activation` is not NULL, an activation that is a layer is given back, not read.
 */
static status read_layer(const cJSON *json, const char *name, const struct topology_reading *reading,
                         struct layer *layer, const cJSON **activation) {
    const char *class_name = topology_string(json, "class_name");
    const cJSON *config = topology_member(json, "config");
    *layer = (struct layer){0};
    if (!class_name || !cJSON_IsObject(config))
        return status_fail(STATUS_DATA, "layer \"%.80s\" has no class_name or no config", name);
    const struct layer_kind *kind = topology_is_custom(json) ? NULL : layer_kind_find(class_name);
    if (!kind) {
        refuse_class(json, name, reading);
        return SUCCESS;
    }
    if (activation) *activation = activation_layer(config, kind);
    STATUS_TRY(layer_create(kind, name, layer));
    char where[256];
    snprintf(where, sizeof where, "layer \"%.80s\" (%.80s)", name, class_name);
    status error = read_attrs(config, reading, where, activation ? *activation : NULL, layer);
    bool complete = !error;
    for (int i = 0; i < kind->nattrs && complete; i++) /* the problem is known already */
        complete = !is_of_layers(&kind->attrs[i]) || kind->attrs[i].initial || layer->attr[i].present;
    if (!complete) layer_clear(layer);
    else if (kind->becomes) layer->kind = kind->becomes;
    return error;
}

/* What an alias says of a class that is custom or not known; *layers is owned, NULL: nothing. */
static status expand(const cJSON *json, const char *name, const struct topology_reading *reading,
                     cJSON **layers) {
    const char *class_name = topology_string(json, "class_name");
    *layers = NULL;
    if (!class_name || !strcmp(class_name, "Lambda")) return SUCCESS;
    if (!topology_is_custom(json) && layer_kind_find(class_name)) return SUCCESS;
    return topology_aliases_expand(reading->aliases, json, name, layers);
}

status topology_layer_read(const cJSON *json, const char *name, const struct topology_reading *reading,
                           struct layer *layer) {
    cJSON *layers;
    *layer = (struct layer){0};
    STATUS_TRY(expand(json, name, reading, &layers));
    if (cJSON_GetArraySize(layers) > 1) {
        problems_add(reading->problems, "layer \"%.80s\" (%.80s): several layers inside another one", name,
                     topology_string(json, "class_name"));
        cJSON_Delete(layers);
        return SUCCESS;
    }
    status error = read_layer(layers ? layers->child : json, name, reading, layer, NULL);
    cJSON_Delete(layers);
    return error;
}

/* One more layer of a chain: the first one, or another after it. */
static status extend(struct topology_chain *chain, struct layer *layer, const char *part) {
    if (!chain->first.kind) {
        chain->first = *layer;
        return SUCCESS;
    }
    struct topology_tail *grown = realloc(chain->tail, (size_t)(chain->ntails + 1) * sizeof *grown);
    if (!grown) {
        layer_clear(layer);
        return status_no_memory("a layer", sizeof *grown);
    }
    chain->tail = grown;
    chain->tail[chain->ntails++] = (struct topology_tail){*layer, part, -1};
    return SUCCESS;
}

/* A layer, then its activation if that is one. False in *known: a class is not. */
static status read_with_activation(const cJSON *json, const char *name,
                                   const struct topology_reading *reading, const char *part,
                                   struct topology_chain *chain, bool *known) {
    struct layer layer;
    const cJSON *activation = NULL;
    STATUS_TRY(read_layer(json, name, reading, &layer, &activation));
    *known = layer.kind != NULL;
    if (!*known) return SUCCESS;
    STATUS_TRY(extend(chain, &layer, part));
    if (!activation) return SUCCESS;
    STATUS_TRY(topology_count_layers(reading, 1));
    const char *own = topology_string(topology_member(activation, "config"), "name");
    char *made = NULL;
    if (!own && asprintf(&made, "%s_activation", name) < 0) return status_no_memory("a name", strlen(name));
    status error = read_layer(activation, own ? own : made, reading, &layer, NULL);
    free(made);
    STATUS_TRY(error);
    *known = layer.kind != NULL;
    return *known ? extend(chain, &layer, "activation") : SUCCESS;
}

status topology_chain_read(const cJSON *json, const char *name, const struct topology_reading *reading,
                           struct topology_chain *chain) {
    cJSON *layers;
    bool known = true;
    *chain = (struct topology_chain){0};
    STATUS_TRY(expand(json, name, reading, &layers));
    status error = SUCCESS;
    if (!layers) error = read_with_activation(json, name, reading, NULL, chain, &known);
    int place = 0;
    if (!error && layers) error = topology_count_layers(reading, cJSON_GetArraySize(layers) - 1);
    for (const cJSON *one = layers ? layers->child : NULL; one && !error && known; one = one->next) {
        char *made = NULL;
        if (place++ && asprintf(&made, "%s_%d", name, place) < 0) error = status_no_memory("a name", 0);
        if (!error) error = read_with_activation(one, made ? made : name, reading, NULL, chain, &known);
        free(made);
    }
    cJSON_Delete(layers);
    if (error || !known) topology_chain_clear(chain);
    return error;
}

void topology_chain_clear(struct topology_chain *chain) {
    if (chain->first.kind) layer_clear(&chain->first);
    for (int i = 0; i < chain->ntails; i++)
        if (chain->tail[i].layer.kind) layer_clear(&chain->tail[i].layer);
    free(chain->tail);
    *chain = (struct topology_chain){0};
}

status topology_attr_is_initial(const struct attr_spec *spec, const struct attr *attr, bool *initial) {
    *initial = false;
    if (!spec->initial) return SUCCESS;
    struct attr parsed = {0};
    STATUS_TRY(attr_parse(spec, spec->initial, &parsed));
    *initial = attr_equal(spec, attr, &parsed);
    attr_clear(spec, &parsed);
    return SUCCESS;
}

int topology_call_attr(const struct layer_kind *kind, const char *name) {
    for (int i = 0; i < kind->nattrs; i++)
        if (kind->attrs[i].call && (!strcmp(kind->attrs[i].name, name) ||
                                    (kind->attrs[i].keras2 && !strcmp(kind->attrs[i].keras2, name))))
            return i;
    return -1;
}

const struct layer_kind *topology_input_kind(void) {
    for (int i = 0; i < layer_kind_count(); i++)
        if (layer_kind_at(i)->max_inputs == 0) return layer_kind_at(i);
    return NULL;
}

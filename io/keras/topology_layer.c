/* One layer: JSON to struct layer and back, by the kind's attribute table. */
#include "io/keras/topology_json.h"
#include "io/keras/topology_layer.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* "float32", {"class_name": "Policy", "config": {"name": ...}}, {"module": "keras", "class_name":
 * "DTypePolicy",
 * ...}. All floating-point policies are computed in float32. */
static void check_dtype(const cJSON *item, bool input, const char *where, struct problems *problems) {
    static const char *const floats[] = {"float32",  "float64",       "float16",
                                         "bfloat16", "mixed_float16", "mixed_bfloat16"};
    static const char *const whole[] = {"int8",   "uint8", "int16",  "uint16", "int32",
                                        "uint32", "int64", "uint64", "bool"};
    const cJSON *value = topology_unwrap(item);
    if (!value || cJSON_IsNull(value)) return;
    const char *class_name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(value, "class_name"));
    if (!class_name || !strncmp(class_name, "Policy", 6) || !strcmp(class_name, "DTypePolicy") ||
        !strcmp(class_name, "FloatDTypePolicy")) {
        const cJSON *name =
            cJSON_IsString(value)
                ? value
                : cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(value, "config"), "name");
        for (size_t i = 0; cJSON_IsString(name) && i < sizeof floats / sizeof *floats; i++)
            if (!strcmp(name->valuestring, floats[i])) return;
        for (size_t i = 0; input && cJSON_IsString(name) && i < sizeof whole / sizeof *whole; i++)
            if (!strcmp(name->valuestring, whole[i])) return;
    }
    char text[TOPOLOGY_TEXT_MAX];
    problems_add(problems, "%s: dtype = %s", where, topology_text(value, text));
}

/* Keras's own classes have the module "keras.layers" or none; registered ones are "package>Class". */
static bool is_custom(const cJSON *json) {
    const cJSON *module = cJSON_GetObjectItemCaseSensitive(json, "module");
    const cJSON *registered = cJSON_GetObjectItemCaseSensitive(json, "registered_name");
    static const char *const own[] = {"keras", "tf_keras", "tensorflow", "builtins"};
    if (cJSON_IsString(registered) && strchr(registered->valuestring, '>') &&
        strncmp(registered->valuestring, "keras", 5) != 0)
        return true;
    if (!cJSON_IsString(module)) return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strncmp(module->valuestring, own[i], strlen(own[i]))) return false;
    return true;
}

/* The layer that a wrapper wraps. If its class is unknown the attribute stays absent. */
static status read_inner(const cJSON *json, const struct topology_reading *reading, const char *where,
                         struct attr *attr) {
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(json, "config");
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "name"));
    if (cJSON_IsNull(json)) return SUCCESS;
    if (!cJSON_IsObject(json)) return status_fail(STATUS_DATA, "%s: the inner layer is not a layer", where);
    struct layer *inner = malloc(sizeof *inner);
    if (!inner) return status_no_memory("a layer", sizeof *inner);
    status error = topology_layer_read(json, name ? name : "inner", reading, inner);
    if (error || !inner->kind) {
        free(inner);
        return status_context(error, "%s", where);
    }
    *attr = (struct attr){.present = true, .u.layer = inner};
    return SUCCESS;
}

static status read_attrs(const cJSON *config, const struct topology_reading *reading, const char *where,
                         struct layer *layer) {
    const struct layer_kind *kind = layer->kind;
    struct problems *problems = reading->problems;
    for (int i = 0; i < kind->nattrs; i++) {
        const struct attr_spec *spec = &kind->attrs[i];
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, spec->name);
        const cJSON *other = spec->keras2 ? cJSON_GetObjectItemCaseSensitive(config, spec->keras2) : NULL;
        if (other && (!item || reading->keras_version < 3)) item = other;
        if (item && spec->type == ATTR_LAYER) STATUS_TRY(read_inner(item, reading, where, &layer->attr[i]));
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
        if (!strcmp(item->string, "dtype")) check_dtype(item, kind->max_inputs == 0, where, problems);
        else if (!is_harmless(item))
            problems_add(problems, "%s: %s = %s", where, item->string, topology_text(item, text));
    }
    const cJSON *trainable = cJSON_GetObjectItemCaseSensitive(config, "trainable");
    layer->trainable = !cJSON_IsFalse(trainable);
    return SUCCESS;
}

status topology_layer_read(const cJSON *json, const char *name, const struct topology_reading *reading,
                           struct layer *layer) {
    *layer = (struct layer){0};
    const char *class_name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "class_name"));
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(json, "config");
    if (!class_name || !cJSON_IsObject(config))
        return status_fail(STATUS_DATA, "layer \"%.80s\" has no class_name or no config", name);
    const struct layer_kind *kind = is_custom(json) ? NULL : layer_kind_find(class_name);
    if (!kind) {
        problems_add(reading->problems, "layer \"%.80s\" (%.80s)", name, class_name);
        return SUCCESS;
    }
    STATUS_TRY(layer_create(kind, name, layer));
    char where[256];
    snprintf(where, sizeof where, "layer \"%.80s\" (%.80s)", name, class_name);
    status error = read_attrs(config, reading, where, layer);
    bool complete = !error;
    for (int i = 0; i < kind->nattrs && complete; i++) /* the problem is known already */
        complete = kind->attrs[i].type != ATTR_LAYER || kind->attrs[i].initial || layer->attr[i].present;
    if (!complete) layer_clear(layer);
    else if (kind->becomes) layer->kind = kind->becomes;
    return error;
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

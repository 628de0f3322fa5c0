#include "io/keras/topology_alias.h"

#include "io/file.h"
#include "io/keras/topology_json.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 20)
#define MAX_LAYERS 16 /* that one class stands for */

struct topology_aliases {
    char *path;  /* owned */
    cJSON *json; /* owned: the file */
};

void topology_aliases_destroy(struct topology_aliases **aliases) {
    struct topology_aliases *a = *aliases;
    if (!a) return;
    cJSON_Delete(a->json);
    free(a->path);
    free(a);
    *aliases = NULL;
}

/* ---- the file ---- */

static bool is_layer(const cJSON *json) {
    const cJSON *config = topology_member(json, "config");
    bool all = cJSON_IsString(config) && !strcmp(config->valuestring, "$all");
    return topology_string(json, "class_name") && (!config || all || cJSON_IsObject(config));
}

static status check_alias(const cJSON *alias) {
    bool list = cJSON_IsArray(alias), right = list ? cJSON_GetArraySize(alias) > 0 : is_layer(alias);
    if (list && cJSON_GetArraySize(alias) > MAX_LAYERS)
        return status_fail(STATUS_DATA, "\"%.80s\" stands for more than %d layers", alias->string,
                           MAX_LAYERS);
    for (const cJSON *layer = list ? alias->child : NULL; layer && right; layer = layer->next)
        right = is_layer(layer);
    if (right) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "\"%.80s\" must be {\"class_name\": ..., \"config\": {...}}, where the config may be "
                       "\"$all\", or a list of those",
                       alias->string);
}

static status check_file(const cJSON *json) {
    if (!cJSON_IsObject(json))
        return status_fail(STATUS_DATA, "must be a JSON object with a member for each custom class");
    for (const cJSON *alias = json->child; alias; alias = alias->next)
        if (alias->string[0] != '_') STATUS_TRY(check_alias(alias));
    return SUCCESS;
}

status topology_aliases_read(const char *path, struct topology_aliases **aliases) {
    char *text = NULL;
    struct topology_aliases *a = calloc(1, sizeof *a);
    if (!a) return status_no_memory("aliases", sizeof *a);
    status error = SUCCESS;
    a->path = strdup(path);
    if (!a->path) {
        error = status_no_memory("a path", strlen(path));
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, file_read_text(path, MAX_BYTES, &text));
    error = topology_parse(text, &a->json);
    if (!error) error = check_file(a->json);
    error = status_context(error, "%s", path);
    if (error) goto cleanup;
    *aliases = a;
    a = NULL;
cleanup:
    free(text);
    topology_aliases_destroy(&a);
    return error;
}

/* ---- configs ---- */

/* The layer that an alias is used for. */
struct use {
    const struct topology_aliases *aliases;
    const char *class_name, *name;
    const cJSON *config; /* the custom layer's */
};

/* The key in "$key" or "$key:default": its length, 0 if it is none; *otherwise is the default, NULL: none. */
static size_t reference(const cJSON *json, const char **otherwise) {
    const char *text = cJSON_GetStringValue(json);
    if (!text || text[0] != '$' || text[1] == '$') return 0;
    size_t length = strcspn(text + 1, ":");
    *otherwise = text[1 + length] ? text + 2 + length : NULL;
    return length;
}

static status no_memory(void) {
    return status_no_memory("aliases", 0);
}

static status resolve_reference(const struct use *use, const char *key, size_t length, const char *otherwise,
                                cJSON **value) {
    char *name = strndup(key, length);
    if (!name) return no_memory();
    const cJSON *found = topology_member(use->config, name);
    status error = SUCCESS;
    if (found) *value = cJSON_Duplicate(found, 1);
    else if (otherwise && !(*value = cJSON_ParseWithOpts(otherwise, NULL, 1)))
        *value = cJSON_CreateString(otherwise);
    else if (!otherwise)
        error =
            status_fail(STATUS_DATA,
                        "%s: \"%.80s\" takes \"%.80s\" from the layer's config, which layer \"%.80s\" does "
                        "not have; give a default, \"$%.80s:1\"",
                        use->aliases->path, use->class_name, name, use->name, name);
    free(name);
    return !error && !*value ? no_memory() : error;
}

static status resolve(const struct use *use, const cJSON *json, cJSON **value);

/* Members of an object or items of a list, each resolved, into `to`. */
static status resolve_members(const struct use *use, const cJSON *json, cJSON *to) {
    for (const cJSON *item = json->child; item; item = item->next) {
        cJSON *value = NULL;
        if (item->string && !strcmp(item->string, "$all")) continue;
        STATUS_TRY(resolve(use, item, &value));
        if (item->string) cJSON_DeleteItemFromObjectCaseSensitive(to, item->string);
        if (item->string ? cJSON_AddItemToObject(to, item->string, value) : cJSON_AddItemToArray(to, value))
            continue;
        cJSON_Delete(value);
        return no_memory();
    }
    return SUCCESS;
}

static status resolve(const struct use *use, const cJSON *json, cJSON **value) {
    const char *otherwise;
    size_t length = reference(json, &otherwise);
    *value = NULL;
    if (length) return resolve_reference(use, json->valuestring + 1, length, otherwise, value);
    if (cJSON_IsArray(json) || cJSON_IsObject(json)) {
        *value = cJSON_IsArray(json) ? cJSON_CreateArray() : cJSON_CreateObject();
        status error = *value ? resolve_members(use, json, *value) : no_memory();
        if (error) {
            cJSON_Delete(*value);
            *value = NULL;
        }
        return error;
    }
    bool escaped = cJSON_IsString(json) && !strncmp(json->valuestring, "$$", 2);
    *value = escaped ? cJSON_CreateString(json->valuestring + 1) : cJSON_Duplicate(json, 1);
    return *value ? SUCCESS : no_memory();
}

/* Takes out of a copy of the whole config what references name. */
static void drop_named(const cJSON *json, cJSON *config) {
    const char *otherwise;
    size_t length = reference(json, &otherwise);
    char *name = length ? strndup(json->valuestring + 1, length) : NULL;
    if (name) cJSON_DeleteItemFromObjectCaseSensitive(config, name);
    free(name);
    for (const cJSON *item = json->child; item; item = item->next) drop_named(item, config);
}

/* Keys that every layer has go along. */
static status add_common(const struct use *use, cJSON *config) {
    static const char *const keys[] = {"trainable", "dtype"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const cJSON *value = topology_member(use->config, keys[i]);
        if (!value || topology_member(config, keys[i])) continue;
        cJSON *copy = cJSON_Duplicate(value, 1);
        if (cJSON_AddItemToObject(config, keys[i], copy)) continue;
        cJSON_Delete(copy);
        return no_memory();
    }
    return SUCCESS;
}

static status make_config(const struct use *use, const cJSON *alias, cJSON **config) {
    bool all = cJSON_IsString(alias), rest = cJSON_IsTrue(topology_member(alias, "$all"));
    cJSON *made = all || rest ? cJSON_Duplicate(use->config, 1) : cJSON_CreateObject();
    status error = made ? SUCCESS : no_memory();
    if (!error && rest) drop_named(alias, made);
    if (!error && cJSON_IsObject(alias)) error = resolve_members(use, alias, made);
    if (!error) error = add_common(use, made);
    if (!error) *config = made;
    else cJSON_Delete(made);
    return error;
}

static status add_layer(const struct use *use, const cJSON *alias, cJSON *layers) {
    cJSON *layer = cJSON_CreateObject(), *config = NULL;
    if (!layer || !cJSON_AddItemToArray(layers, layer)) {
        cJSON_Delete(layer);
        return no_memory();
    }
    if (!cJSON_AddStringToObject(layer, "class_name", topology_string(alias, "class_name")))
        return no_memory();
    STATUS_TRY(make_config(use, topology_member(alias, "config"), &config));
    if (cJSON_AddItemToObject(layer, "config", config)) return SUCCESS;
    cJSON_Delete(config);
    return no_memory();
}

/* By its registered name, by its class as it stands, by its class without a package. */
static const cJSON *find_alias(const struct topology_aliases *aliases, const cJSON *json) {
    const char *names[3] = {topology_string(json, "registered_name"), topology_string(json, "class_name")};
    const char *package = names[1] ? strrchr(names[1], '>') : NULL;
    names[2] = package ? package + 1 : NULL;
    for (int i = 0; i < 3; i++) {
        const cJSON *alias = names[i] && names[i][0] != '_' ? topology_member(aliases->json, names[i]) : NULL;
        if (alias) return alias;
    }
    return NULL;
}

status topology_aliases_expand(const struct topology_aliases *aliases, const cJSON *json, const char *name,
                               cJSON **layers) {
    const cJSON *alias = aliases ? find_alias(aliases, json) : NULL;
    *layers = NULL;
    if (!alias) return SUCCESS;
    struct use use = {aliases, alias->string, name, topology_member(json, "config")};
    cJSON *list = cJSON_CreateArray();
    status error = list ? SUCCESS : no_memory();
    if (!error && !cJSON_IsArray(alias)) error = add_layer(&use, alias, list);
    for (const cJSON *one = cJSON_IsArray(alias) ? alias->child : NULL; one && !error; one = one->next)
        error = add_layer(&use, one, list);
    if (!error) *layers = list;
    else cJSON_Delete(list);
    return error;
}

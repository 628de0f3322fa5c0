#include "io/keras/topology_json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 4096                /* in one object */
#define MAX_VALUES ((size_t)4 << 20) /* of which the parser makes 64 bytes and more each */

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static status check_object(const cJSON *object, const char **keys) {
    size_t n = 0;
    for (const cJSON *item = object->child; item; item = item->next) {
        if (n == MAX_KEYS)
            return status_fail(STATUS_DATA, "an object with more than %d keys; is this a Keras topology?",
                               MAX_KEYS);
        keys[n++] = item->string;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            return status_fail(STATUS_DATA, "key \"%.60s\" is there twice in one object; remove one",
                               keys[i]);
    return SUCCESS;
}

/* The parser has bounded the depth. */
static status check_keys(const cJSON *json, const char **keys) {
    if (cJSON_IsObject(json)) STATUS_TRY(check_object(json, keys));
    for (const cJSON *item = json->child; item; item = item->next) STATUS_TRY(check_keys(item, keys));
    return SUCCESS;
}

/* No fewer values than the text has, if it is JSON. */
static size_t count_values(const char *text) {
    size_t n = 1;
    bool quoted = false;
    for (const char *c = text; *c; c++) {
        if (*c == '"') quoted = !quoted;
        else if (quoted && *c == '\\' && c[1]) c++;
        else if (!quoted) n += *c == ',' || *c == '[' || *c == '{';
    }
    return n;
}

status topology_parse(const char *text, cJSON **json) {
    if (strlen(text) > TOPOLOGY_MAX_BYTES)
        return status_fail(STATUS_DATA, "the topology is longer than %zu bytes", TOPOLOGY_MAX_BYTES);
    if (count_values(text) > MAX_VALUES)
        return status_fail(STATUS_DATA, "the topology has more than %zu values", MAX_VALUES);
    const char *end = NULL;
    cJSON *parsed = cJSON_ParseWithOpts(text, &end, 1);
    if (!parsed) {
        if (!*text) return status_fail(STATUS_DATA, "the topology is empty");
        long at = end ? (long)(end - text) : 0;
        return status_fail(STATUS_DATA,
                           "the topology is not JSON (or nested too deeply) at byte %ld: \"%.20s\"", at,
                           end ? end : "");
    }
    const char **keys = malloc(MAX_KEYS * sizeof *keys);
    status error = keys ? check_keys(parsed, keys) : status_no_memory("a topology", MAX_KEYS * sizeof *keys);
    free(keys);
    if (error) {
        cJSON_Delete(parsed);
        return error;
    }
    *json = parsed;
    return SUCCESS;
}

const cJSON *topology_unwrap(const cJSON *json) {
    while (cJSON_IsObject(json)) {
        const char *class_name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "class_name"));
        const cJSON *inner = NULL;
        if (!class_name) {
            /* Keras 2.0: {"type": "ndarray", "value": 6.0} */
            if (cJSON_GetObjectItemCaseSensitive(json, "type"))
                inner = cJSON_GetObjectItemCaseSensitive(json, "value");
        } else if (!strcmp(class_name, "__tuple__") || !strcmp(class_name, "__list__")) {
            inner = cJSON_GetObjectItemCaseSensitive(json, "items");
        } else if (!strcmp(class_name, "__numpy__") || !strcmp(class_name, "__tensor__")) {
            inner =
                cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "config"), "value");
        } else if (!strcmp(class_name, "function")) {
            inner = cJSON_GetObjectItemCaseSensitive(json, "config");
        } else {
            /* {"module": "builtins", "class_name": "int64", "config": 3} and the like */
            const cJSON *module = cJSON_GetObjectItemCaseSensitive(json, "module");
            const cJSON *config = cJSON_GetObjectItemCaseSensitive(json, "config");
            if (cJSON_IsString(module) && !strcmp(module->valuestring, "builtins") && cJSON_IsNumber(config))
                inner = config;
        }
        if (!inner) break;
        json = inner;
    }
    return json;
}

const cJSON *topology_member(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

const char *topology_string(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(topology_member(object, key));
}

const char *topology_text(const cJSON *json, char *text) {
    char *printed = json ? cJSON_PrintUnformatted(json) : NULL;
    const char *shown = printed ? printed : "?";
    bool cut = strlen(shown) > TOPOLOGY_TEXT_MAX - 1;
    snprintf(text, TOPOLOGY_TEXT_MAX, "%.*s%s", TOPOLOGY_TEXT_MAX - 4, shown, cut ? "..." : "");
    cJSON_free(printed);
    return text;
}

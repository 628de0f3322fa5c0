#include "io/keras/topology_json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 4096                /* in one object */
#define MAX_VALUES ((size_t)4 << 20) /* of which the parser makes 64 bytes and more each */
#define MAX_DEPTH 512
#define MAX_NAME 1024 /* bytes of a key, of a layer's or a class's name */

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Keys and names are shown in one line, and name groups of files. */
static status check_name(const char *name, const char *what) {
    if (strlen(name) > MAX_NAME)
        return status_fail(STATUS_DATA, "a %s is longer than %d bytes: \"%.40s...\"", what, MAX_NAME, name);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return status_fail(STATUS_DATA, "a %s has a control character: \"%.80s\"", what, name);
    return SUCCESS;
}

static status check_object(const cJSON *object, const char **keys) {
    size_t n = 0;
    for (const cJSON *item = object->child; item; item = item->next) {
        if (n == MAX_KEYS)
            return status_fail(STATUS_DATA, "an object with more than %d keys; is this a Keras topology?",
                               MAX_KEYS);
        STATUS_TRY(check_name(item->string, "key"));
        bool names = !strcmp(item->string, "name") || !strcmp(item->string, "class_name");
        if (names && cJSON_IsString(item)) STATUS_TRY(check_name(item->valuestring, "name"));
        keys[n++] = item->string;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            return status_fail(STATUS_DATA, "key \"%.60s\" is there twice in one object; remove one",
                               keys[i]);
    return SUCCESS;
}

/* The depth is bounded. */
static status check_values(const cJSON *json, const char **keys) {
    if (cJSON_IsObject(json)) STATUS_TRY(check_object(json, keys));
    for (const cJSON *item = json->child; item; item = item->next) STATUS_TRY(check_values(item, keys));
    return SUCCESS;
}

/* Bytes of the UTF-8 character at `c`, which ends before `end`; 0 if it is none. */
static size_t character(const unsigned char *c, const unsigned char *end) {
    size_t n = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
    if (n > (size_t)(end - c)) return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f))) return 0;
    if (n == 4 && ((c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))) return 0;
    return n;
}

/* What the parser would make of the text, before it does: it must be UTF-8, with bounded depth and no more
 * values than are counted here. */
static status check_text(const char *text, size_t length) {
    const unsigned char *c = (const unsigned char *)text, *end = c + length;
    size_t values = 1, depth = 0;
    bool quoted = false;
    while (c < end) {
        size_t n = character(c, end);
        if (n == 0 || *c == 0)
            return status_fail(STATUS_DATA, "the topology is not UTF-8 at byte %zu",
                               (size_t)((const char *)c - text));
        if (*c == '"') quoted = !quoted;
        else if (quoted && *c == '\\' && c + 1 < end && (c[1] == '"' || c[1] == '\\')) n = 2;
        else if (!quoted && (*c == '[' || *c == '{')) depth++;
        else if (!quoted && (*c == ']' || *c == '}') && depth) depth--;
        values += !quoted && (*c == ',' || *c == '[' || *c == '{');
        if (depth > MAX_DEPTH)
            return status_fail(STATUS_DATA, "the topology is nested too deeply: more than %d", MAX_DEPTH);
        c += n;
    }
    if (values > MAX_VALUES)
        return status_fail(STATUS_DATA, "the topology has more than %zu values", MAX_VALUES);
    return SUCCESS;
}

status topology_parse_bytes(const char *text, size_t length, cJSON **json) {
    if (length > TOPOLOGY_MAX_BYTES)
        return status_fail(STATUS_DATA, "the topology is longer than %zu bytes", TOPOLOGY_MAX_BYTES);
    if (length == 0) return status_fail(STATUS_DATA, "the topology is empty");
    STATUS_TRY(check_text(text, length));
    const char *end = NULL;
    cJSON *parsed = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    while (parsed && end < text + length && strchr(" \t\r\n", *end)) end++;
    if (!parsed || end != text + length) {
        size_t at = end ? (size_t)(end - text) : 0;
        int shown = length - at < 20 ? (int)(length - at) : 20;
        cJSON_Delete(parsed);
        return status_fail(STATUS_DATA, "the topology is not JSON at byte %zu: \"%.*s\"", at, shown,
                           text + at);
    }
    const char **keys = malloc(MAX_KEYS * sizeof *keys);
    status error =
        keys ? check_values(parsed, keys) : status_no_memory("a topology", MAX_KEYS * sizeof *keys);
    free(keys);
    if (error) {
        cJSON_Delete(parsed);
        return error;
    }
    *json = parsed;
    return SUCCESS;
}

status topology_parse(const char *text, cJSON **json) {
    return topology_parse_bytes(text, strlen(text), json);
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

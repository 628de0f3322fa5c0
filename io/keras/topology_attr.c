/* Attributes: JSON value to attribute and back, by the kind's table. */
#include "io/keras/topology_json.h"
#include "io/keras/topology_layer.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_EXACT 9007199254740992.0 /* 2^53: larger integers are not exact in JSON numbers */
#define MAX_ITEMS (1 << 20)

static status wrong_type(const struct attr_spec *spec, const cJSON *json, const char *where,
                         const char *expected) {
    char text[TOPOLOGY_TEXT_MAX];
    return status_fail(STATUS_DATA, "%s: %s must be %s, and is %s", where, spec->name, expected,
                       topology_text(json, text));
}

static bool is_integer(const cJSON *json) {
    return cJSON_IsNumber(json) && json->valuedouble == floor(json->valuedouble) &&
           fabs(json->valuedouble) <= LARGEST_EXACT;
}

static int count_leaves(const cJSON *json) {
    json = topology_unwrap(json);
    if (!cJSON_IsArray(json)) return 1;
    int n = 0;
    for (const cJSON *item = json->child; item && n < MAX_ITEMS; item = item->next) n += count_leaves(item);
    return n;
}

/* Numbers of a value or of lists of values, in order; null stands for an unknown dimension where allowed. */
static bool collect_leaves(const cJSON *json, bool integers, bool null_allowed, double *v, int *n) {
    json = topology_unwrap(json);
    if (cJSON_IsArray(json)) {
        for (const cJSON *item = json->child; item; item = item->next)
            if (!collect_leaves(item, integers, null_allowed, v, n)) return false;
        return true;
    }
    if (cJSON_IsNull(json) && null_allowed) v[(*n)++] = SHAPE_UNKNOWN;
    else if (cJSON_IsNumber(json) && (integers ? is_integer(json) : isfinite(json->valuedouble)))
        v[(*n)++] = json->valuedouble;
    else return false;
    return true;
}

static status read_list(const struct attr_spec *spec, const cJSON *json, const char *where,
                        struct attr *attr) {
    bool integers = spec->type != ATTR_FLOATS;
    const char *expected = spec->type == ATTR_SHAPE ? "a list of dimensions"
                           : integers               ? "a whole number or a list of them"
                                                    : "a number or a list of them";
    int room = count_leaves(json);
    if (room >= MAX_ITEMS)
        return status_fail(STATUS_DATA, "%s: %s has more than %d items", where, spec->name, MAX_ITEMS);
    if (room < spec->length) room = spec->length;
    double *v = malloc((size_t)(room + 1) * sizeof *v);
    int64_t *whole = malloc((size_t)(room + 1) * sizeof *whole);
    status error = SUCCESS;
    int n = 0;
    if (!v || !whole) {
        error = status_no_memory("an attribute", (size_t)room * sizeof *v);
        goto cleanup;
    }
    if (!collect_leaves(json, integers, spec->type == ATTR_SHAPE || spec->free, v, &n)) {
        error = wrong_type(spec, json, where, expected);
        goto cleanup;
    }
    if (spec->length && n == 1)
        for (; n < spec->length; n++) v[n] = v[0];
    if (spec->length && n != spec->length) {
        char text[TOPOLOGY_TEXT_MAX];
        error = status_fail(STATUS_DATA, "%s: %s must have %d numbers, and is %s", where, spec->name,
                            spec->length, topology_text(json, text));
        goto cleanup;
    }
    attr_clear(spec, attr);
    if (integers) {
        for (int i = 0; i < n; i++) whole[i] = (int64_t)v[i];
        attr->u.ints.n = n;
        attr->u.ints.v = whole;
        whole = NULL;
    } else {
        attr->u.floats.n = n;
        attr->u.floats.v = v;
        v = NULL;
    }
    attr->present = true;
cleanup:
    free(v);
    free(whole);
    return error;
}

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
        if (!strncmp(c, value, length) && (c[length] == '|' || !c[length])) return true;
    return false;
}

/* One name for functions that have two. */
static const char *canonical(const struct attr_spec *spec, const char *value) {
    static const struct {
        const char *name, *other;
    } names[] = {{"silu", "swish"}, {"hard_silu", "hard_swish"}};
    if (!strstr(spec->name, "activation")) return value;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(value, names[i].other)) return names[i].name;
    return value;
}

static status read_string(const struct attr_spec *spec, const cJSON *json, const char *where,
                          struct attr *attr, struct problems *problems) {
    char text[TOPOLOGY_TEXT_MAX];
    if (!cJSON_IsString(json)) {
        /* A layer or a custom object where a name could be. */
        if (!cJSON_IsObject(json)) return wrong_type(spec, json, where, "a name");
        problems_add(problems, "%s: %s = %s", where, spec->name, topology_text(json, text));
        return SUCCESS;
    }
    if (spec->choices && !is_choice(spec->choices, json->valuestring)) {
        problems_add(problems, "%s: %s = %s", where, spec->name, topology_text(json, text));
        return SUCCESS;
    }
    char *copy = strdup(canonical(spec, json->valuestring));
    if (!copy) return status_no_memory("an attribute", strlen(json->valuestring));
    attr_clear(spec, attr);
    attr->u.s = copy;
    attr->present = true;
    return SUCCESS;
}

status topology_attr_read(const struct attr_spec *spec, const cJSON *json, const char *where,
                          struct attr *attr, struct problems *problems) {
    const char *function = topology_string(json, "registered_name");
    if (function && spec->type == ATTR_STRING && topology_is_custom(json)) {
        problems_add(problems, "%s: %s = %.80s, a custom function", where, spec->name, function);
        return SUCCESS;
    }
    json = topology_unwrap(json);
    if (cJSON_IsNull(json)) {
        if (!spec->initial) return wrong_type(spec, json, where, "given");
        attr_clear(spec, attr);
        return attr_parse(spec, spec->initial, attr);
    }
    /* A list of one number is as good as the number: "axis": [3]. */
    if ((spec->type == ATTR_INT || spec->type == ATTR_FLOAT) && cJSON_IsArray(json) && json->child &&
        !json->child->next)
        json = topology_unwrap(json->child);
    switch (spec->type) {
    case ATTR_BOOL:
        if (!cJSON_IsBool(json) && !(is_integer(json) && (json->valuedouble == 0 || json->valuedouble == 1)))
            return wrong_type(spec, json, where, "true or false");
        attr->u.b = cJSON_IsTrue(json) || (cJSON_IsNumber(json) && json->valuedouble == 1);
        attr->present = true;
        return SUCCESS;
    case ATTR_INT:
        if (!is_integer(json)) return wrong_type(spec, json, where, "a whole number");
        attr->u.i = (int64_t)json->valuedouble;
        attr->present = true;
        return SUCCESS;
    case ATTR_FLOAT:
        if (!cJSON_IsNumber(json) || !isfinite(json->valuedouble))
            return wrong_type(spec, json, where, "a number");
        attr->u.f = json->valuedouble;
        attr->present = true;
        return SUCCESS;
    case ATTR_STRING:
        return read_string(spec, json, where, attr, problems);
    case ATTR_INTS:
    case ATTR_FLOATS:
    case ATTR_SHAPE:
        return read_list(spec, json, where, attr);
    case ATTR_LAYER:
    case ATTR_LAYERS: /* topology_layer_read() does that itself */
        break;
    }
    return status_fail(STATUS_INTERNAL, "%s: attribute %s has an unknown type", where, spec->name);
}

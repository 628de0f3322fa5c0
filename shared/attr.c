/* Attributes of layers: parsing defaults, copying, comparing. */
#include "shared/layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static status bad_text(const struct attr_spec *spec, const char *text) {
    return status_fail(STATUS_DATA, "attribute \"%s\": cannot read \"%s\"", spec->name, text);
}

static status parse_int(const struct attr_spec *spec, const char *text, const char **end, int64_t *value) {
    char *stop;
    errno = 0;
    *value = strtoll(text, &stop, 10);
    if (stop == text || errno) return bad_text(spec, text);
    *end = stop;
    return SUCCESS;
}

static status parse_float(const struct attr_spec *spec, const char *text, const char **end, double *value) {
    char *stop;
    *value = strtod(text, &stop);
    if (stop == text) return bad_text(spec, text);
    *end = stop;
    return SUCCESS;
}

static int count_items(const char *text) {
    int n = *text ? 1 : 0;
    for (const char *c = text; *c; c++) n += *c == ',';
    return n;
}

/* "1,1" or, in a shape, "?,28,28,1". */
static status parse_ints(const struct attr_spec *spec, const char *text, struct attr *attr) {
    int n = count_items(text), length = n == 1 && spec->type == ATTR_INTS && spec->length ? spec->length : n;
    int64_t *v = calloc(length ? length : 1, sizeof *v);
    if (!v) return status_no_memory("attribute", (size_t)length * sizeof *v);
    const char *at = text;
    for (int i = 0; i < n; i++) {
        status error = SUCCESS;
        if (spec->type == ATTR_SHAPE && *at == '?') {
            v[i] = SHAPE_UNKNOWN;
            at++;
        } else {
            error = parse_int(spec, at, &at, &v[i]);
        }
        if (!error && *at != (i + 1 < n ? ',' : 0)) error = bad_text(spec, text);
        if (error) {
            free(v);
            return error;
        }
        at++;
    }
    for (int i = n; i < length; i++) v[i] = v[0];
    attr->u.ints.n = length;
    attr->u.ints.v = v;
    return SUCCESS;
}

static status parse_floats(const struct attr_spec *spec, const char *text, struct attr *attr) {
    int n = count_items(text);
    double *v = calloc(n ? n : 1, sizeof *v);
    if (!v) return status_no_memory("attribute", (size_t)n * sizeof *v);
    const char *at = text;
    for (int i = 0; i < n; i++) {
        status error = parse_float(spec, at, &at, &v[i]);
        if (!error && *at != (i + 1 < n ? ',' : 0)) error = bad_text(spec, text);
        if (error) {
            free(v);
            return error;
        }
        at++;
    }
    attr->u.floats.n = n;
    attr->u.floats.v = v;
    return SUCCESS;
}

status attr_parse(const struct attr_spec *spec, const char *text, struct attr *attr) {
    struct attr parsed = {.present = true};
    const char *end = "";
    if (!strcmp(text, "null")) {
        *attr = (struct attr){.present = false};
        return SUCCESS;
    }
    switch (spec->type) {
    case ATTR_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false")) return bad_text(spec, text);
        parsed.u.b = text[0] == 't';
        break;
    case ATTR_INT:
        STATUS_TRY(parse_int(spec, text, &end, &parsed.u.i));
        break;
    case ATTR_FLOAT:
        STATUS_TRY(parse_float(spec, text, &end, &parsed.u.f));
        break;
    case ATTR_STRING:
        parsed.u.s = strdup(text);
        if (!parsed.u.s) return status_no_memory("attribute", strlen(text) + 1);
        break;
    case ATTR_INTS:
    case ATTR_SHAPE:
        STATUS_TRY(parse_ints(spec, text, &parsed));
        break;
    case ATTR_FLOATS:
        STATUS_TRY(parse_floats(spec, text, &parsed));
        break;
    case ATTR_LAYER:
    case ATTR_LAYERS:
        return bad_text(spec, text);
    }
    if (*end) return bad_text(spec, text);
    *attr = parsed;
    return SUCCESS;
}

static status copy_array(const void *from, int n, size_t size, void **to) {
    *to = malloc(n ? (size_t)n * size : 1);
    if (!*to) return status_no_memory("attribute", (size_t)n * size);
    if (n) memcpy(*to, from, (size_t)n * size);
    return SUCCESS;
}

static void clear_layers(int n, struct layer *v) {
    for (int i = 0; i < n; i++) layer_clear(&v[i]);
    free(v);
}

static status copy_layers(int n, const struct layer *from, struct layer **to) {
    struct layer *copy = malloc((size_t)(n ? n : 1) * sizeof *copy);
    if (!copy) return status_no_memory("attribute", (size_t)n * sizeof *copy);
    for (int i = 0; i < n; i++) {
        status error = layer_copy(&from[i], from[i].name, &copy[i]);
        if (error) {
            clear_layers(i, copy);
            return error;
        }
    }
    *to = copy;
    return SUCCESS;
}

status attr_copy(const struct attr_spec *spec, const struct attr *from, struct attr *to) {
    struct attr copy = *from;
    void *array = NULL;
    if (from->present) switch (spec->type) {
        case ATTR_STRING:
            copy.u.s = strdup(from->u.s);
            if (!copy.u.s) return status_no_memory("attribute", strlen(from->u.s) + 1);
            break;
        case ATTR_INTS:
        case ATTR_SHAPE:
            STATUS_TRY(copy_array(from->u.ints.v, from->u.ints.n, sizeof(int64_t), &array));
            copy.u.ints.v = array;
            break;
        case ATTR_FLOATS:
            STATUS_TRY(copy_array(from->u.floats.v, from->u.floats.n, sizeof(double), &array));
            copy.u.floats.v = array;
            break;
        case ATTR_LAYER:
            STATUS_TRY(copy_layers(1, from->u.layer, &copy.u.layer));
            break;
        case ATTR_LAYERS:
            STATUS_TRY(copy_layers(from->u.layers.n, from->u.layers.v, &copy.u.layers.v));
            break;
        case ATTR_BOOL:
        case ATTR_INT:
        case ATTR_FLOAT:
            break;
        }
    *to = copy;
    return SUCCESS;
}

bool attr_equal(const struct attr_spec *spec, const struct attr *a, const struct attr *b) {
    if (a->present != b->present) return false;
    if (!a->present) return true;
    switch (spec->type) {
    case ATTR_BOOL:
        return a->u.b == b->u.b;
    case ATTR_INT:
        return a->u.i == b->u.i;
    case ATTR_FLOAT:
        return a->u.f == b->u.f;
    case ATTR_STRING:
        return !strcmp(a->u.s, b->u.s);
    case ATTR_INTS:
    case ATTR_SHAPE:
        if (a->u.ints.n != b->u.ints.n) return false;
        for (int i = 0; i < a->u.ints.n; i++)
            if (a->u.ints.v[i] != b->u.ints.v[i]) return false;
        return true;
    case ATTR_FLOATS:
        if (a->u.floats.n != b->u.floats.n) return false;
        for (int i = 0; i < a->u.floats.n; i++)
            if (a->u.floats.v[i] != b->u.floats.v[i]) return false;
        return true;
    case ATTR_LAYER:
        return layer_equal(a->u.layer, b->u.layer);
    case ATTR_LAYERS:
        if (a->u.layers.n != b->u.layers.n) return false;
        for (int i = 0; i < a->u.layers.n; i++)
            if (!layer_equal(&a->u.layers.v[i], &b->u.layers.v[i])) return false;
        return true;
    }
    return false;
}

void attr_clear(const struct attr_spec *spec, struct attr *attr) {
    if (attr->present) switch (spec->type) {
        case ATTR_STRING:
            free(attr->u.s);
            break;
        case ATTR_INTS:
        case ATTR_SHAPE:
            free(attr->u.ints.v);
            break;
        case ATTR_FLOATS:
            free(attr->u.floats.v);
            break;
        case ATTR_LAYER:
            clear_layers(1, attr->u.layer);
            break;
        case ATTR_LAYERS:
            clear_layers(attr->u.layers.n, attr->u.layers.v);
            break;
        case ATTR_BOOL:
        case ATTR_INT:
        case ATTR_FLOAT:
            break;
        }
    *attr = (struct attr){.present = false};
}

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (strcspn(at, "|") == length && !strncmp(at, text, length)) return true;
    return false;
}

status attr_check(const struct attr_spec *spec, const struct attr *attr) {
    if (!attr->present)
        return spec->initial && !strcmp(spec->initial, "null")
                   ? SUCCESS
                   : status_fail(STATUS_DATA, "attribute \"%s\" is missing; give it a value", spec->name);
    if (spec->type == ATTR_STRING && spec->choices && !is_choice(spec->choices, attr->u.s))
        return status_fail(STATUS_UNSUPPORTED, "%s \"%s\" is not supported (it can be %s)", spec->name,
                           attr->u.s, spec->choices);
    if (spec->type == ATTR_INTS && spec->length && attr->u.ints.n != spec->length)
        return status_fail(STATUS_DATA, "attribute \"%s\" has %d numbers, not %d", spec->name, attr->u.ints.n,
                           spec->length);
    return SUCCESS;
}

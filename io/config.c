#include "io/config_field.h"
#include "io/file.h"
#include "shared/nearest.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LENGTH 160
#define FIELDS_MAX 64 /* of one table */
#define FILE_MAX_BYTES ((size_t)4 << 20)

/* ---- defaults and destruction ---- */

static status copy_text(const char *text, char **copy) {
    char *c = strdup(text);
    if (!c) return status_no_memory("the configuration", strlen(text));
    free(*copy);
    *copy = c;
    return SUCCESS;
}

static status set_defaults(const struct field_table *table, void *record) {
    for (int i = 0; i < table->n; i++) {
        const struct field *f = &table->field[i];
        void *at = field_at(f, record);
        switch (f->type) {
        case FIELD_TEXT:
        case FIELD_NAME:
            STATUS_TRY(copy_text(f->text, (char **)at));
            break;
        case FIELD_TEXTS:
        case FIELD_NAMED:
            break;
        case FIELD_INT:
            *(int64_t *)at = (int64_t)f->number;
            break;
        case FIELD_REAL:
            *(double *)at = f->number;
            break;
        case FIELD_BOOL:
            *(bool *)at = f->number != 0;
            break;
        case FIELD_OBJECT:
            STATUS_TRY(set_defaults(f->table, at));
            break;
        }
    }
    return SUCCESS;
}

static void clear_texts(const struct field *f, void *record) {
    char ***texts = (char ***)field_at(f, record);
    int *n = field_count(f, record);
    for (int i = 0; i < *n; i++) free((*texts)[i]);
    free(*texts);
    *texts = NULL;
    *n = 0;
}

static void clear(const struct field_table *table, void *record) {
    for (int i = 0; i < table->n; i++) {
        const struct field *f = &table->field[i];
        if (f->type == FIELD_TEXT || f->type == FIELD_NAME) free(*field_text(f, record));
        else if (f->type == FIELD_TEXTS || f->type == FIELD_NAMED) clear_texts(f, record);
        else if (f->type == FIELD_OBJECT) clear(f->table, field_at(f, record));
    }
}

void config_destroy(struct config **config) {
    if (!*config) return;
    clear(&config_table, *config);
    free(*config);
    *config = NULL;
}

/* ---- checking ---- */

static const struct field *find(const struct field_table *table, const char *key) {
    for (int i = 0; i < table->n; i++)
        if (strcmp(table->field[i].key, key) == 0) return &table->field[i];
    return NULL;
}

/* `prefix` is the path of the object that the table describes, "" for the whole. */
static status unknown_key(const struct field_table *table, const char *prefix, const char *key) {
    const char *keys[FIELDS_MAX];
    char allowed[1024] = "", near_text[96] = "";
    size_t used = 0;
    for (int i = 0; i < table->n && i < FIELDS_MAX; i++) {
        keys[i] = table->field[i].key;
        used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", i ? ", " : "", keys[i]);
    }
    const char *near = nearest_word(key, keys, table->n);
    if (near) snprintf(near_text, sizeof near_text, "; did you mean \"%s\"?", near);
    return status_fail(STATUS_USAGE, "unknown key \"%s%s%.64s\"%s (allowed here: %s)", prefix,
                       *prefix ? "." : "", key, near_text, allowed);
}

static status wrong(const struct field *f, const char *path, const char *found) {
    char allowed[FIELD_TEXT_MAX];
    return status_fail(STATUS_USAGE, "\"%s\" is %s; allowed: %s", path, found, field_allowed(f, allowed));
}

static const char *json_kind(const cJSON *value) {
    if (cJSON_IsNull(value)) return "null";
    if (cJSON_IsBool(value)) return cJSON_IsTrue(value) ? "true" : "false";
    if (cJSON_IsNumber(value)) return "a number";
    if (cJSON_IsString(value)) return "a text";
    if (cJSON_IsArray(value)) return "a list";
    return "an object";
}

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *c = choices; *c;) {
        size_t n = strcspn(c, "|");
        if (n == length && memcmp(c, text, n) == 0) return true;
        c += n + (c[n] == '|');
    }
    return false;
}

static bool is_name(const char *text) {
    if (text[0] == '.' || strlen(text) > 128) return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("._-", *text)) return false;
    return true;
}

static status set_text(const struct field *f, const char *path, const cJSON *value, void *record) {
    if (!cJSON_IsString(value)) return wrong(f, path, json_kind(value));
    const char *text = value->valuestring;
    char found[96];
    snprintf(found, sizeof found, "\"%.64s\"", text);
    if (f->choices && !is_choice(f->choices, text)) return wrong(f, path, found);
    if (f->type == FIELD_NAME && !is_name(text)) return wrong(f, path, found);
    return copy_text(text, field_text(f, record));
}

static status set_texts(const struct field *f, const char *path, const cJSON *value, void *record) {
    if (!cJSON_IsArray(value)) return wrong(f, path, json_kind(value));
    const cJSON *element;
    cJSON_ArrayForEach(element, value) {
        if (!cJSON_IsString(element)) return wrong(f, path, "a list with other things than texts");
    }
    int n = cJSON_GetArraySize(value);
    char **texts = calloc((size_t)n + 1, sizeof *texts);
    if (!texts) return status_no_memory("the configuration", (size_t)n * sizeof *texts);
    clear_texts(f, record);
    *(char ***)field_at(f, record) = texts;
    *field_count(f, record) = n;
    int i = 0;
    cJSON_ArrayForEach(element, value) STATUS_TRY(copy_text(element->valuestring, &texts[i++]));
    return SUCCESS;
}

static status set_number(const struct field *f, const char *path, const cJSON *value, void *record) {
    if (!cJSON_IsNumber(value)) return wrong(f, path, json_kind(value));
    double number = value->valuedouble;
    char found[48];
    snprintf(found, sizeof found, "%.16g", number);
    bool low = f->open & OPEN_MIN ? number <= f->min : number < f->min;
    bool high = f->open & OPEN_MAX ? number >= f->max : number > f->max;
    if (!isfinite(number) || low || high || (f->type == FIELD_INT && number != floor(number)))
        return wrong(f, path, found);
    if (f->type == FIELD_INT) *(int64_t *)field_at(f, record) = (int64_t)number;
    else *(double *)field_at(f, record) = number;
    return SUCCESS;
}

static status apply_object(const struct field_table *table, const char *prefix, const cJSON *object,
                           void *record);

/* Is it an object with the field's keys? */
static status check_named(const struct field *f, const char *path, const cJSON *value) {
    void *scratch = calloc(1, f->size);
    if (!scratch) return status_no_memory("the configuration", f->size);
    status error = set_defaults(f->table, scratch);
    if (!error) error = apply_object(f->table, path, value, scratch);
    clear(f->table, scratch);
    free(scratch);
    return error;
}

static status named_text(const struct field *f, const char *path, const cJSON *value, char **text) {
    char whole[PATH_MAX_LENGTH];
    snprintf(whole, sizeof whole, "%s.%.64s", path, value->string);
    if (!is_name(value->string) || !value->string[0])
        return status_fail(
            STATUS_USAGE, "\"%s\": a name has letters, digits, '.', '_' and '-', and does not begin with '.'",
            whole);
    if (!cJSON_IsObject(value)) return wrong(f, whole, json_kind(value));
    STATUS_TRY(check_named(f, whole, value));
    char *json = cJSON_PrintUnformatted(value);
    int length = json ? asprintf(text, "%s\n%s", value->string, json) : -1;
    cJSON_free(json);
    if (length >= 0) return SUCCESS;
    *text = NULL;
    return status_no_memory("the configuration", strlen(value->string));
}

static status set_named(const struct field *f, const char *path, const cJSON *value, void *record) {
    if (!cJSON_IsObject(value)) return wrong(f, path, json_kind(value));
    char **texts = calloc((size_t)cJSON_GetArraySize(value) + 1, sizeof *texts);
    if (!texts) return status_no_memory("the configuration", sizeof *texts);
    clear_texts(f, record);
    *(char ***)field_at(f, record) = texts;
    const cJSON *element;
    cJSON_ArrayForEach(element, value) {
        for (const cJSON *before = value->child; before != element; before = before->next)
            if (!strcmp(before->string, element->string))
                return status_fail(STATUS_USAGE, "\"%s.%.64s\" is there twice; keep one", path,
                                   element->string);
        STATUS_TRY(named_text(f, path, element, &texts[*field_count(f, record)]));
        ++*field_count(f, record);
    }
    return SUCCESS;
}

static status apply(const struct field *f, const char *path, const cJSON *value, void *record) {
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_NAME:
        return set_text(f, path, value, record);
    case FIELD_TEXTS:
        return set_texts(f, path, value, record);
    case FIELD_NAMED:
        return set_named(f, path, value, record);
    case FIELD_INT:
    case FIELD_REAL:
        return set_number(f, path, value, record);
    case FIELD_BOOL:
        if (!cJSON_IsBool(value)) return wrong(f, path, json_kind(value));
        *(bool *)field_at(f, record) = cJSON_IsTrue(value);
        return SUCCESS;
    case FIELD_OBJECT:
        if (f->plain && cJSON_IsString(value))
            return set_text(find(f->table, f->plain), path, value, field_at(f, record));
        if (!cJSON_IsObject(value)) return wrong(f, path, json_kind(value));
        return apply_object(f->table, path, value, field_at(f, record));
    }
    return SUCCESS;
}

static status apply_object(const struct field_table *table, const char *prefix, const cJSON *object,
                           void *record) {
    const cJSON *value;
    cJSON_ArrayForEach(value, object) {
        const struct field *f = find(table, value->string);
        if (!f) return unknown_key(table, prefix, value->string);
        char path[PATH_MAX_LENGTH];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", f->key);
        for (const cJSON *before = object->child; before != value; before = before->next)
            if (strcmp(before->string, value->string) == 0)
                return status_fail(STATUS_USAGE, "\"%s\" is there twice; keep one", path);
        STATUS_TRY(apply(f, path, value, record));
    }
    return SUCCESS;
}

/* ---- reading ---- */

static status syntax_error(const char *json, const char *at) {
    int line = 1, column = 1;
    for (const char *c = json; c < at && *c; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    size_t length = strcspn(at, "\r\n");
    if (length == 0)
        return status_fail(STATUS_USAGE, "not JSON: mistake at or before line %d, column %d", line, column);
    return status_fail(STATUS_USAGE, "not JSON: mistake at or before line %d, column %d: \"%.*s\"", line,
                       column, length > 16 ? 16 : (int)length, at);
}

static status parse(const char *json, struct config *config) {
    const char *end = json;
    cJSON *root = cJSON_ParseWithOpts(json, &end, 1);
    if (!root) return syntax_error(json, end);
    status error =
        cJSON_IsObject(root)
            ? apply_object(&config_table, "", root, config)
            : status_fail(STATUS_USAGE, "a configuration is an object, in { }, not %s", json_kind(root));
    cJSON_Delete(root);
    return error;
}

status config_parse(const char *json, const char *what, struct config **config) {
    struct config *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("the configuration", sizeof *c);
    status error = set_defaults(&config_table, c);
    if (!error) error = parse(json, c);
    if (error) {
        config_destroy(&c);
        return status_context(error, "%s", what);
    }
    *config = c;
    return SUCCESS;
}

status config_read(const char *path, struct config **config) {
    char *json = NULL;
    STATUS_TRY(file_read_text(path, FILE_MAX_BYTES, &json));
    status error = config_parse(json, path, config);
    free(json);
    return error;
}

/* The field at the dotted path, and the struct it is in. */
static status locate(const char *path, void **record, const struct field **field) {
    const struct field_table *table = &config_table;
    char prefix[PATH_MAX_LENGTH] = "";
    for (const char *rest = path;;) {
        size_t length = strcspn(rest, ".");
        char key[PATH_MAX_LENGTH];
        snprintf(key, sizeof key, "%.*s", (int)length, rest);
        const struct field *f = find(table, key);
        if (!f) return unknown_key(table, prefix, key);
        if (!rest[length]) {
            *field = f;
            return SUCCESS;
        }
        size_t used = strlen(prefix);
        snprintf(prefix + used, sizeof prefix - used, "%s%s", used ? "." : "", f->key);
        if (f->type != FIELD_OBJECT)
            return status_fail(STATUS_USAGE, "unknown key \"%s\": \"%s\" has no keys of its own", path,
                               prefix);
        table = f->table;
        *record = field_at(f, *record);
        rest += length + 1;
    }
}

static status assign(struct config *config, const char *path, const char *text) {
    void *record = config;
    const struct field *f = NULL;
    STATUS_TRY(locate(path, &record, &f));
    bool is_text = f->type == FIELD_TEXT || f->type == FIELD_NAME || (f->plain && text[0] != '{');
    cJSON *value = is_text && text[0] != '"' ? cJSON_CreateString(text) : cJSON_ParseWithOpts(text, NULL, 1);
    if (!value) {
        char found[96];
        snprintf(found, sizeof found, "%.64s", *text ? text : "empty");
        return wrong(f, path, found);
    }
    status error = apply(f, path, value, record);
    cJSON_Delete(value);
    return error;
}

status config_set(struct config *config, const char *assignment) {
    size_t length = strcspn(assignment, "=");
    if (assignment[length] != '=' || length == 0 || length >= PATH_MAX_LENGTH)
        return status_fail(STATUS_USAGE, "--set %.64s: write it as KEY=VALUE, for example training.epochs=3",
                           assignment);
    char path[PATH_MAX_LENGTH];
    memcpy(path, assignment, length);
    path[length] = '\0';
    return status_context(assign(config, path, assignment + length + 1), "--set");
}

status config_of_target(const struct config *config, int i, struct config **of_target) {
    const char *text = config->targets[i], *json = strchr(text, '\n') + 1;
    char *whole = NULL, *name = strndup(text, (size_t)(json - text - 1));
    struct config *c = NULL;
    status error = name ? config_print(config, &whole) : status_no_memory("the configuration", strlen(text));
    if (!error) error = config_parse(whole, "targets", &c);
    if (!error) error = assign(c, "target", json);
    if (!error) error = assign(c, "targets", "{}");
    if (!error) error = copy_text(name, &c->name);
    free(whole);
    free(name);
    if (error) config_destroy(&c);
    *of_target = c;
    return error;
}

status config_require(const struct config *config, const char *path) {
    void *record = (void *)(size_t)config;
    const struct field *f = NULL;
    STATUS_TRY(locate(path, &record, &f));
    if (f->plain) {
        record = field_at(f, record);
        f = find(f->table, f->plain);
    }
    if (f->type != FIELD_TEXT && f->type != FIELD_NAME)
        return status_fail(STATUS_INTERNAL, "\"%s\" is not a text", path);
    if (**field_text(f, record)) return SUCCESS;
    return status_fail(STATUS_USAGE, "key \"%s\" is missing in the configuration (%s)", path, f->meaning);
}

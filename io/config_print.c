#include "io/config_field.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- as JSON ---- */

static cJSON *object_of(const struct field_table *table, const void *record);

/* With as many digits as give the same number again; cJSON's own printing stops at fifteen. */
static cJSON *number_of(double number) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    return cJSON_CreateRaw(text);
}

/* Objects, each as its name, a line end and its JSON. */
static cJSON *named_of(char *const *text, int n) {
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; object && i < n; i++) {
        const char *json = strchr(text[i], '\n');
        char *name = strndup(text[i], (size_t)(json - text[i]));
        cJSON *value = cJSON_Parse(json + 1);
        if (!name || !value || !cJSON_AddItemToObject(object, name, value)) {
            cJSON_Delete(value);
            cJSON_Delete(object);
            object = NULL;
        }
        free(name);
    }
    return object;
}

static cJSON *value_of(const struct field *f, const void *record) {
    const void *at = field_at(f, record);
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_NAME:
        return cJSON_CreateString(*field_text(f, record));
    case FIELD_TEXTS:
        if (*field_count(f, record) == 0) return cJSON_CreateArray();
        return cJSON_CreateStringArray(*(const char *const *const *)at, *field_count(f, record));
    case FIELD_NAMED:
        return named_of(*(char *const *const *)at, *field_count(f, record));
    case FIELD_INT:
        return number_of((double)*(const int64_t *)at);
    case FIELD_REAL:
        return number_of(*(const double *)at);
    case FIELD_BOOL:
        return cJSON_CreateBool(*(const bool *)at);
    case FIELD_OBJECT:
        return object_of(f->table, at);
    }
    return NULL;
}

static cJSON *object_of(const struct field_table *table, const void *record) {
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; object && i < table->n; i++) {
        cJSON *value = value_of(&table->field[i], record);
        if (!value || !cJSON_AddItemToObject(object, table->field[i].key, value)) {
            cJSON_Delete(value);
            cJSON_Delete(object);
            return NULL;
        }
    }
    return object;
}

status config_print(const struct config *config, char **json) {
    cJSON *object = object_of(&config_table, config);
    char *text = object ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    if (!text) return status_no_memory("the configuration's text", sizeof *config);
    *json = text;
    return SUCCESS;
}

/* ---- as a table for people ---- */

static void print_initial(const struct field *f, char *text, size_t nbytes) {
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_NAME:
        snprintf(text, nbytes, "`\"%s\"`", f->text);
        break;
    case FIELD_TEXTS:
        snprintf(text, nbytes, "`[]`");
        break;
    case FIELD_NAMED:
        snprintf(text, nbytes, "`{}`");
        break;
    case FIELD_INT:
        snprintf(text, nbytes, "`%.16g`", f->number);
        break;
    case FIELD_REAL:
        snprintf(text, nbytes, "`%g`", f->number);
        break;
    case FIELD_BOOL:
        snprintf(text, nbytes, "`%s`", f->number != 0 ? "true" : "false");
        break;
    case FIELD_OBJECT:
        text[0] = '\0';
        break;
    }
}

static void describe(const struct field_table *table, const char *prefix, FILE *out) {
    for (int i = 0; i < table->n; i++) {
        const struct field *f = &table->field[i];
        char path[128], quoted[136], initial[96], allowed[FIELD_TEXT_MAX];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", f->key);
        if (f->type == FIELD_OBJECT) {
            describe(f->table, path, out);
            continue;
        }
        print_initial(f, initial, sizeof initial);
        snprintf(quoted, sizeof quoted, "`%s`", path);
        fprintf(out, "| %-34s | %-16s | %s | %s |\n", quoted, initial, f->meaning, field_allowed(f, allowed));
    }
}

status config_describe(char **text) {
    char *buffer = NULL;
    size_t nbytes = 0;
    FILE *out = open_memstream(&buffer, &nbytes);
    if (!out) return status_no_memory("the table of the configuration", 16384);
    fprintf(out, "| %-34s | %-16s | meaning | allowed |\n|---|---|---|---|\n", "key", "default");
    describe(&config_table, "", out);
    if (fclose(out)) {
        free(buffer);
        return status_no_memory("the table of the configuration", 16384);
    }
    *text = buffer;
    return SUCCESS;
}

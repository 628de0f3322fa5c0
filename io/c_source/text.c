#include "io/c_source/text.h"

#include <ctype.h>
#include <math.h>
#include <search.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NAME_KEPT 96 /* bytes of a name that are kept */

status c_text_create(struct c_text **text) {
    struct c_text *t = calloc(1, sizeof *t);
    if (!t) return status_no_memory("a program", sizeof *t);
    t->depth = 1;
    t->body = open_memstream(&t->lines, &t->length);
    if (!t->body) {
        free(t);
        return status_no_memory("a program", sizeof *t);
    }
    *text = t;
    return SUCCESS;
}

static void keep(void *name) {
    (void)name; /* it is the constant's */
}

void c_text_destroy(struct c_text **text) {
    struct c_text *t = *text;
    if (!t) return;
    fclose(t->body);
    free(t->lines);
    tdestroy(t->names, keep);
    for (int i = 0; i < t->nconstants; i++) {
        free(t->constant[i].name);
        free(t->constant[i].own);
    }
    free(t->constant);
    free(t->function);
    status_drop(&t->error);
    free(t);
    *text = NULL;
}

static void no_memory(struct c_text *t, size_t nbytes) {
    if (!t->error) t->error = status_no_memory("a program", nbytes);
}

void c_line(struct c_text *t, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line && !t->error)
        t->error = status_fail(STATUS_INTERNAL, "a line of C is too long: %.40s", line);
    const size_t n = strlen(line);
    if (line[0] == '}') t->depth--;
    fprintf(t->body, "%*s%s\n", 4 * t->depth, "", line);
    if (n && line[n - 1] == '{') t->depth++;
}

/* ---- names and numbers ---- */

char *c_name(const char *text) {
    const size_t n = strlen(text);
    char *name = malloc(n + 3);
    if (!name) return NULL;
    char *to = name;
    if (!isalpha((unsigned char)*text)) {
        *to++ = 'w';
        *to++ = '_';
    }
    for (size_t i = 0; i <= n; i++)
        *to++ = (char)(!text[i] || isalnum((unsigned char)text[i]) ? text[i] : '_');
    return name;
}

const char *c_number(float value, char *buffer) {
    if (isinf(value)) return strcpy(buffer, value > 0 ? "INFINITY" : "-INFINITY");
    snprintf(buffer, 40, "%.9g", (double)value);
    if (!strpbrk(buffer, ".e")) strcat(buffer, ".0");
    return strcat(buffer, "f");
}

/* ---- constants ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp(a, b);
}

/* "layer_what", with a number if it is taken; owned. */
static char *constant_name(struct c_text *t, const char *layer, const char *what) {
    char *text = NULL, *name = NULL, *unique = NULL;
    if (asprintf(&text, "%.*s_%s", NAME_KEPT, layer, what) < 0) return NULL;
    name = c_name(text);
    free(text);
    for (int i = 1; name; i++) {
        if ((i > 1 ? asprintf(&unique, "%s_%d", name, i) : asprintf(&unique, "%s", name)) < 0) {
            unique = NULL;
            break;
        }
        if (!tfind(unique, &t->names, compare_names)) break;
        free(unique);
    }
    free(name);
    return unique;
}

const char *c_constant(struct c_text *t, const char *layer, const char *what, const struct shape *shape,
                       const float *values, float *own) {
    /* A parameter that several operations use is there once. */
    for (int i = 0; i < t->nconstants && !own; i++)
        if (t->constant[i].values == values) return t->constant[i].name;
    char *name = constant_name(t, layer, what);
    struct c_constant *grown = realloc(t->constant, ((size_t)t->nconstants + 1) * sizeof *t->constant);
    if (grown) t->constant = grown;
    if (!values || !name || !grown || !tsearch(name, &t->names, compare_names)) {
        no_memory(t, sizeof *grown);
        free(name);
        free(own);
        return "";
    }
    struct c_constant *c = &t->constant[t->nconstants++];
    *c = (struct c_constant){.name = name, .values = values, .own = own, .count = 1};
    for (int i = 0; i < shape->rank; i++) c->count *= shape->dim[i];
    shape_format(shape, c->shape);
    return name;
}

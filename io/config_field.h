/* The tables of the configuration: every key's type, range, default and meaning, once. Within io/config*.c.
 */
#ifndef GODWIT_IO_CONFIG_FIELD_H
#define GODWIT_IO_CONFIG_FIELD_H

#include "io/config.h"

#include <stdbool.h>
#include <stddef.h>

enum field_type {
    FIELD_TEXT,   /* char *, owned; one of `choices` if given */
    FIELD_NAME,   /* char *, owned; "" or letters, digits, '.', '_', '-', not beginning with '.' */
    FIELD_TEXTS,  /* char **, owned, with its int count at `count_offset`; default: none */
    FIELD_INT,    /* int64_t in [min, max] */
    FIELD_REAL,   /* double from min to max, which belong to the range unless `open` says otherwise */
    FIELD_BOOL,   /* bool */
    FIELD_OBJECT, /* a struct with a table of its own */
    FIELD_NAMED   /* char **, owned, with its count: named objects with keys of `table`, each as its name, a
                     line   end and its JSON; default: none */
};

enum { OPEN_MIN = 1, OPEN_MAX = 2 };

struct field_table;

struct field {
    const char *key;
    enum field_type type;
    size_t offset;                   /* in the struct */
    size_t count_offset;             /* FIELD_TEXTS, FIELD_NAMED */
    double min, max;                 /* FIELD_INT, FIELD_REAL */
    unsigned open;                   /* FIELD_REAL: OPEN_MIN, OPEN_MAX */
    double number;                   /* default of FIELD_INT, FIELD_REAL, FIELD_BOOL */
    const char *text;                /* default of FIELD_TEXT, FIELD_NAME */
    const char *choices;             /* FIELD_TEXT: "sgd|adamw"; NULL: any */
    const struct field_table *table; /* FIELD_OBJECT, FIELD_NAMED */
    size_t size;                     /* FIELD_NAMED: of a struct of that table */
    const char *plain; /* FIELD_OBJECT: a text instead of the object sets this key; NULL: none */
    const char *meaning;
};

struct field_table {
    const struct field *field; /* [n] */
    int n;
};

/* The whole configuration: of struct config. */
extern const struct field_table config_table;

static inline void *field_at(const struct field *field, const void *record) {
    return (char *)(size_t)record + field->offset;
}
static inline char **field_text(const struct field *field, const void *record) {
    return (char **)field_at(field, record);
}
static inline int *field_count(const struct field *field, const void *record) {
    return (int *)(void *)((char *)(size_t)record + field->count_offset);
}

/* "(0, 1]", "1 to 4096", "one of \"a\", \"b\"", "true or false" ... of what is allowed; into
 * text[FIELD_TEXT_MAX]. */
#define FIELD_TEXT_MAX 256
const char *field_allowed(const struct field *field, char *text);

#endif

/* Names that Keras 3's .weights.h5 gives the groups of a model's layers: the class in snake case, and a
 * number from the second of a class on (keras/src/saving/saving_lib.py, keras/src/utils/naming.py). */
#include "io/keras/topology.h"

#include <ctype.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Does "_" go before the capital at `i`? Keras: re.sub("(.)([A-Z][a-z]+)", r"\1_\2"), then
 * re.sub("([a-z])([A-Z])", r"\1_\2"). */
static bool is_start(const char *text, size_t i) {
    return i > 0 && isupper((unsigned char)text[i]) &&
           (islower((unsigned char)text[i + 1]) || islower((unsigned char)text[i - 1]));
}

/* "GlobalAveragePooling2D" to "global_average_pooling2d"; owned. */
static char *snake_case(const char *text) {
    char *name = malloc(2 * strlen(text) + 1), *to = name;
    for (size_t i = 0; name && text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isalnum(c) && c != '_') continue;
        if (is_start(text, i)) *to++ = '_';
        *to++ = (char)tolower(c);
    }
    if (name) *to = 0;
    return name;
}

/* What the tree points to lies in an array. */
static void keep(void *count) {
    (void)count;
}

/* A class, and how many layers have it so far. */
struct class_count {
    const char *class_name;
    int n;
};

static int compare_classes(const void *a, const void *b) {
    return strcmp(((const struct class_count *)a)->class_name, ((const struct class_count *)b)->class_name);
}

status topology_group_names(int n, const char *const *class_name, char **group) {
    struct class_count *count = calloc((size_t)n + 1, sizeof *count);
    void *counts = NULL; /* a search tree of them */
    status error = count ? SUCCESS : status_no_memory("a topology", (size_t)n * sizeof *count);
    for (int i = 0; i < n; i++) group[i] = NULL;
    for (int i = 0; i < n && !error; i++) {
        count[i].class_name = class_name[i];
        struct class_count **found = tsearch(&count[i], &counts, compare_classes);
        char *name = snake_case(class_name[i]);
        if (!found || !name ||
            ((*found)->n ? asprintf(&group[i], "%s_%d", name, (*found)->n)
                         : asprintf(&group[i], "%s", name)) < 0) {
            group[i] = NULL;
            error = status_no_memory("a topology", strlen(class_name[i]));
        }
        if (found) (*found)->n++;
        free(name);
    }
    for (int i = 0; i < n && error; i++) {
        free(group[i]);
        group[i] = NULL;
    }
    tdestroy(counts, keep);
    free(count);
    return error;
}

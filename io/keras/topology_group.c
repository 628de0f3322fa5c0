/* Names that Keras 3's .weights.h5 gives the groups of a model's layers: the class in snake case, and a
 * number from the second of a class on (keras/src/saving/saving_lib.py, keras/src/utils/naming.py). */
#include "io/keras/topology.h"

#include <ctype.h>
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

status topology_group_names(int n, const char *const *class_name, char **group) {
    int *number = calloc((size_t)n + 1, sizeof *number);
    status error = number ? SUCCESS : status_no_memory("a topology", (size_t)n * sizeof *number);
    for (int i = 0; i < n; i++) group[i] = NULL;
    for (int i = 0; i < n && !error; i++) {
        int before = i - 1;
        while (before >= 0 && strcmp(class_name[before], class_name[i]) != 0) before--;
        number[i] = before < 0 ? 0 : number[before] + 1;
        char *name = snake_case(class_name[i]);
        if (!name || (number[i] ? asprintf(&group[i], "%s_%d", name, number[i])
                                : asprintf(&group[i], "%s", name)) < 0) {
            group[i] = NULL;
            error = status_no_memory("a topology", strlen(class_name[i]));
        }
        free(name);
    }
    for (int i = 0; i < n && error; i++) {
        free(group[i]);
        group[i] = NULL;
    }
    free(number);
    return error;
}

#include "shared/layer_coverage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* X(class, backward, against), sorted; tests/worker/test_layer_cases.c says what a line should be. */
#define COVERAGE(X) X("Activation", true, "TensorFlow.js")

static const struct layer_coverage table[] = {
#define COVERAGE_ENTRY(class, backward, against) {class, backward, against},
    COVERAGE(COVERAGE_ENTRY)
#undef COVERAGE_ENTRY
};
#define NENTRIES (sizeof table / sizeof *table)

const struct layer_coverage *layer_coverage(const struct layer_kind *kind) {
    for (size_t i = 0; i < NENTRIES; i++)
        if (!strcmp(table[i].class_name, kind->class_name)) return &table[i];
    return NULL;
}

static int compare_kinds(const void *a, const void *b) {
    const struct layer_kind *const *x = a, *const *y = b;
    return strcmp((*x)->class_name, (*y)->class_name);
}

status layer_coverage_table(char **text) {
    size_t n = (size_t)layer_kind_count(), nbytes = 0;
    const struct layer_kind **kind = malloc((n + 1) * sizeof *kind);
    char *buffer = NULL;
    FILE *out = kind ? open_memstream(&buffer, &nbytes) : NULL;
    if (!out) {
        free(kind);
        return status_no_memory("the table of layers", 8192);
    }
    for (size_t i = 0; i < n; i++) kind[i] = layer_kind_at((int)i);
    qsort(kind, n, sizeof *kind, compare_kinds);
    fprintf(out, "| layer | inference | training | same outputs as |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const struct layer_coverage *c = layer_coverage(kind[i]);
        fprintf(out, "| `%s` | yes | %s | %s |\n", kind[i]->class_name, c && c->backward ? "yes" : "no",
                c ? c->against : "");
    }
    free(kind);
    if (fclose(out)) {
        free(buffer);
        return status_no_memory("the table of layers", 8192);
    }
    *text = buffer;
    return SUCCESS;
}

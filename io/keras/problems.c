#include "io/keras/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void problems_add(struct problems *problems, const char *format, ...) {
    char *text = NULL;
    if (problems->n == PROBLEMS_MAX) {
        problems->more++;
        return;
    }
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        problems->incomplete = true;
        return;
    }
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = ' ';
    for (int i = 0; i < problems->n; i++)
        if (problems->problem[i].about == problems->about && !strcmp(problems->problem[i].text, text)) {
            free(text);
            return;
        }
    struct problem *grown = realloc(problems->problem, (size_t)(problems->n + 1) * sizeof *grown);
    if (!grown) {
        problems->incomplete = true;
        free(text);
        return;
    }
    problems->problem = grown;
    problems->problem[problems->n++] = (struct problem){text, problems->about, -1};
}

void problems_place(struct problems *problems, const void *about, int layer) {
    for (int i = 0; i < problems->n; i++)
        if (problems->problem[i].about == about) problems->problem[i].layer = layer;
}

bool problems_has_layer(const struct problems *problems, int layer) {
    for (int i = 0; i < problems->n; i++)
        if (problems->problem[i].layer == layer) return true;
    return false;
}

static char *join(const struct problems *problems) {
    char *text = NULL;
    size_t nbytes = 0;
    FILE *out = open_memstream(&text, &nbytes);
    if (!out) return NULL;
    for (int i = 0; i < problems->n; i++) fprintf(out, "%s%s", i ? "; " : "", problems->problem[i].text);
    if (problems->more) fprintf(out, "; and %d more", problems->more);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

status problems_take(struct problems *problems) {
    status error = SUCCESS;
    char *text = problems->n ? join(problems) : NULL;
    if (problems->incomplete || (problems->n && !text))
        error = status_no_memory("a list of unsupported layers", 0);
    else if (problems->n) error = status_fail(STATUS_UNSUPPORTED, "not supported: %s", text);
    free(text);
    problems_clear(problems);
    return error;
}

void problems_clear(struct problems *problems) {
    for (int i = 0; i < problems->n; i++) free(problems->problem[i].text);
    free(problems->problem);
    *problems = (struct problems){0};
}

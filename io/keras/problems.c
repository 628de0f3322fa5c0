#include "io/keras/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void problems_add(struct problems *problems, const char *format, ...) {
    char *one = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&one, format, args);
    va_end(args);
    problems->n++;
    if (length < 0) {
        problems->incomplete = true;
        return;
    }
    size_t used = problems->text ? strlen(problems->text) : 0;
    char *grown = realloc(problems->text, used + (size_t)length + 3);
    if (!grown) {
        problems->incomplete = true;
    } else {
        problems->text = grown;
        sprintf(grown + used, "%s%s", used ? "; " : "", one);
    }
    free(one);
}

status problems_take(struct problems *problems) {
    status error = SUCCESS;
    if (problems->incomplete) error = status_no_memory("a list of unsupported layers", 0);
    else if (problems->n) error = status_fail(STATUS_UNSUPPORTED, "not supported: %s", problems->text);
    problems_clear(problems);
    return error;
}

void problems_clear(struct problems *problems) {
    free(problems->text);
    *problems = (struct problems){0};
}

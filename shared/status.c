#include "shared/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct status_error {
    enum status_code code;
    char *message;
};

static char no_memory_text[] = "out of memory; use more ranks, a smaller batch or a smaller chunk";
static struct status_error no_memory_error = {STATUS_MEMORY, no_memory_text};

static char *format_text(const char *format, va_list args) {
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) return NULL;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = ' '; /* one line, and nothing that moves a cursor */
    return text;
}

status status_fail(enum status_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    struct status_error *error = text ? malloc(sizeof *error) : NULL;
    if (!error) {
        free(text);
        return &no_memory_error;
    }
    error->code = code;
    error->message = text;
    return error;
}

status status_context(status error, const char *format, ...) {
    if (!error || error == &no_memory_error) return error;
    va_list args;
    va_start(args, format);
    char *context = format_text(format, args);
    va_end(args);
    char *text = NULL;
    if (context && asprintf(&text, "%s: %s", context, error->message) >= 0) {
        free(error->message);
        error->message = text;
    }
    free(context);
    return error;
}

status status_recode(status error, enum status_code code) {
    if (error && error != &no_memory_error) error->code = code;
    return error;
}

enum status_code status_code(status error) {
    return error ? error->code : STATUS_OK;
}

const char *status_message(status error) {
    return error ? error->message : "";
}

const char *status_meaning(enum status_code code) {
    switch (code) {
#define STATUS_CASE(name, exit_code, meaning)                                                                \
    case STATUS_##name:                                                                                      \
        return meaning;
        STATUS_CODES(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

int status_exit_code(enum status_code code) {
    switch (code) {
#define STATUS_CASE(name, exit_code, meaning)                                                                \
    case STATUS_##name:                                                                                      \
        return exit_code;
        STATUS_CODES(STATUS_CASE)
#undef STATUS_CASE
    }
    return 70;
}

void status_drop(status *error) {
    if (*error && *error != &no_memory_error) {
        free((*error)->message);
        free(*error);
    }
    *error = SUCCESS;
}

status status_first(status a, status b) {
    if (!a) return b;
    status_drop(&b);
    return a;
}

status status_no_memory(const char *what, unsigned long long nbytes) {
    return status_fail(STATUS_MEMORY,
                       "no memory for %s (%.1f MiB); use more ranks, a smaller batch or a smaller chunk",
                       what, (double)nbytes / 1048576.0);
}

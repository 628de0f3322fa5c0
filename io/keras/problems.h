/* A list of what a model needs and this program does not have, so that one error names all of it. */
#ifndef GODWIT_IO_KERAS_PROBLEMS_H
#define GODWIT_IO_KERAS_PROBLEMS_H

#include "shared/status.h"

struct problems {
    int n;
    char *text;      /* owned: "layer \"a\" (Lambda); layer \"b\": ..." */
    bool incomplete; /* there was no memory for one */
};

/* Appends one problem: a few words that name the layer and, if any, the key and its value. */
void problems_add(struct problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* UNSUPPORTED listing all of them, SUCCESS if there are none; empties the list. */
status problems_take(struct problems *problems) STATUS_MUST_USE;

void problems_clear(struct problems *problems);

#endif

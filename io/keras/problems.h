/* A list of what a model needs and this program does not have, so that one error names all of it. */
#ifndef GODWIT_IO_KERAS_PROBLEMS_H
#define GODWIT_IO_KERAS_PROBLEMS_H

#include "shared/status.h"

struct problem {
    char *text;        /* owned: layer "a" (Lambda) */
    const void *about; /* while a topology is read: what it is about */
    int layer;         /* of the graph; -1: not known, or about the model */
};

#define PROBLEMS_MAX 1000 /* kept; those after them are counted */

struct problems {
    int n, more;
    struct problem *problem; /* [n], owned */
    bool incomplete;         /* there was no memory for one */
    const void *about;       /* of those added next */
};

/* Appends one problem: a few words that name the layer and, if any, the key and its value. The same words
 * about the same are there once. */
void problems_add(struct problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whatever is about `about` is about this layer of the graph. */
void problems_place(struct problems *problems, const void *about, int layer);

/* Is there one about this layer of the graph? */
bool problems_has_layer(const struct problems *problems, int layer);

/* UNSUPPORTED listing all of them, SUCCESS if there are none; empties the list. */
status problems_take(struct problems *problems) STATUS_MUST_USE;

void problems_clear(struct problems *problems);

#endif

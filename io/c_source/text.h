/* The text of a C file being made: lines of code, constants and functions that they use. Private to
 * io/c_source/.
 *
 * An error stays in the text: `error`, for who writes it to a file. */
#ifndef GODWIT_IO_C_SOURCE_TEXT_H
#define GODWIT_IO_C_SOURCE_TEXT_H

#include "io/c_source/steps.h"

#include <stdio.h>

struct c_constant {
    char *name;
    const float *values;
    float *own; /* the same if they are the text's, else NULL */
    int64_t count;
    char shape[SHAPE_TEXT_MAX];
};

struct c_text {
    status error;
    FILE *body;  /* into memory */
    char *lines; /* what is in it once it is flushed */
    size_t length;
    int depth;                       /* of blocks */
    bool adds_scaled, adds_products; /* which of the loops below are used */
    int nconstants, nfunctions;
    struct c_constant *constant;
    struct activation_function *function;
    void *names; /* of constants: a search tree */
};

status c_text_create(struct c_text **text) STATUS_MUST_USE;
void c_text_destroy(struct c_text **text); /* accepts NULL */

/* Appends a line, indented by the blocks around it: a line that ends in { begins one, one that begins with }
 * ends it. */
void c_line(struct c_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds a constant, named "layer_what" as far as C's names can be, and returns its name. The values are
 * borrowed until the text is written, or taken over (`own`; NULL after a failed allocation is an error of
 * memory). */
const char *c_constant(struct c_text *text, const char *layer, const char *what, const struct shape *shape,
                       const float *values, float *own);

/* `x` with the function applied: "relu(x)". f NULL: `x`. Written into buffer[room]. */
const char *c_apply(struct c_text *text, const struct activation_function *f, const char *x, char *buffer,
                    size_t room);
/* Lines that add to n elements at `to`: factor * from[m], or x[m] * from[m]. They are functions of their own,
 * which compilers vectorise. */
void c_add_scaled(struct c_text *text, const char *to, const char *factor, const char *from, int64_t n);
void c_add_products(struct c_text *text, const char *to, const char *x, const char *from, int64_t n);
/* The definitions of all functions that are used. */
void c_functions_print(const struct c_text *text, FILE *out);

/* A number as C reads it, exact: "0.100000001f", "-INFINITY". Written into buffer[40]. */
const char *c_number(float value, char *buffer);

/* A C name like `text`, of letters, digits and underlines; owned, NULL if there is no memory. */
char *c_name(const char *text);

#endif

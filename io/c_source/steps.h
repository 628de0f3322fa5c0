/* What a C file computes: operations without batch norms and functions that go into the operation before, and
 * where their values lie. Private to io/c_source/. */
#ifndef GODWIT_IO_C_SOURCE_STEPS_H
#define GODWIT_IO_C_SOURCE_STEPS_H

#include "io/model.h"

/* An operation and what follows it at once. */
struct c_step {
    const struct op *op;
    int out;              /* the value that comes out in the end */
    float *kernel, *bias; /* with a batch norm in them; NULL: those of the operation; owned */
    bool has_function;
    struct activation_function function;
    int64_t scratch;        /* floats that it needs for itself */
    int64_t scratch_offset; /* in the workspace */
};

enum c_where { C_WORK, C_INPUT, C_OUTPUT };

struct c_place {
    enum c_where where;
    int index;      /* of the input or output */
    int64_t offset; /* floats, in the workspace */
};

struct c_steps {
    const struct opgraph *ops; /* batch 1, without what no output needs */
    int n;
    struct c_step *step;   /* [n], owned */
    struct c_place *place; /* [ops->nvalues], owned */
    int64_t work;          /* floats of the workspace */
};

/* All dimensions of the operations' values but the batch, which is 1, are known. */
status c_steps_create(const struct opgraph *ops, const struct params *params,
                      struct c_steps **steps) STATUS_MUST_USE;
void c_steps_destroy(struct c_steps **steps); /* accepts NULL */

/* Gives all values their places; memory is used again as soon as nobody reads it any more. */
status c_steps_place(struct c_steps *steps) STATUS_MUST_USE;

/* Does the step's output have the elements of its input, as they are? */
bool c_step_only_reshapes(const struct c_step *step);

int64_t c_count(const struct opgraph *ops, int value); /* elements of one sample */

#endif

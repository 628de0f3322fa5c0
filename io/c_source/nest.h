/* Nested loops over elements that lie in arrays with strides of their own. Private to io/c_source/. */
#ifndef GODWIT_IO_C_SOURCE_NEST_H
#define GODWIT_IO_C_SOURCE_NEST_H

#include "io/c_source/text.h"

#define NEST_ARRAYS 3

struct c_nest {
    int rank, narrays;
    int64_t dim[SHAPE_MAX_RANK];
    int64_t stride[NEST_ARRAYS][SHAPE_MAX_RANK];
    int64_t offset[NEST_ARRAYS];
};

/* Strides of a shape, without the batch, in `stride`. */
void c_strides(const struct shape *shape, int64_t *stride);
/* Strides of an array that is broadcast to `to`: 0 where it is stretched. Neither has a batch. */
void c_broadcast(const struct shape *shape, const struct shape *to, int64_t *stride);
/* A sample's shape: without the batch. */
struct shape c_sample(const struct shape *shape);

/* Axes of 1 are left out, and those joined that follow each other in all arrays. */
void c_nest_simplify(struct c_nest *nest);
/* Begins the loops, over i0, i1, ... with the letter i. */
void c_nest_open(struct c_text *text, const struct c_nest *nest, char letter);
void c_nest_close(struct c_text *text, const struct c_nest *nest);
/* Where the element of an array is: "i0 * 32 + i1 + 5", or "0"; in buffer[256]. */
const char *c_nest_at(const struct c_nest *nest, int array, char letter, char *buffer);

#endif

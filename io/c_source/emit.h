/* From operations to C. Each emitter writes the lines of one step, in which `x` (and `z`, of a second input)
 * is what is read and `y` what is written. Private to io/c_source/. */
#ifndef GODWIT_IO_C_SOURCE_EMIT_H
#define GODWIT_IO_C_SOURCE_EMIT_H

#include "io/c_source/nest.h"

struct c_source {
    const struct graph *graph;
    const struct opgraph *ops;
    const struct params *params;
    struct c_steps *steps;
    struct c_text *text;
};

const struct shape *c_shape(const struct c_source *s, int value);
/* The name of the step's layer. */
const char *c_layer(const struct c_source *s, const struct c_step *step);
/* A parameter of the step's operation as a constant; NULL if it is absent. */
const char *c_param(struct c_source *s, const struct c_step *step, int which);
/* Kernel and bias: those with a batch norm in them, or the parameters. */
const char *c_kernel(struct c_source *s, struct c_step *step);
const char *c_bias(struct c_source *s, struct c_step *step);
/* Where a value is: "work + 64"; in buffer[64]. */
const char *c_value(const struct c_source *s, int value, char *buffer);
/* The step's function applied to `x`. */
const char *c_result(struct c_source *s, const struct c_step *step, const char *x, char *buffer, size_t room);
typedef status c_emit(struct c_source *s, struct c_step *step);
c_emit c_emit_conv, c_emit_depthwise, c_emit_conv_transpose, c_emit_pool, c_emit_resize; /* emit_window.c */
c_emit c_emit_activation, c_emit_binary, c_emit_channels, c_emit_prelu;                  /* emit_elements.c */
c_emit c_emit_concat, c_emit_pad, c_emit_slice, c_emit_transpose, c_emit_copy;           /* emit_axes.c */
c_emit c_emit_reduce, c_emit_softmax, c_emit_layer_norm;                                 /* emit_groups.c */
c_emit c_emit_dense, c_emit_matmul, c_emit_embedding;                                    /* emit_product.c */
c_emit c_emit_recurrent; /* emit_recurrent.c */

#endif

/* Operations among the layers of a functional model, which stand for layers: Keras 3's keras.ops ("Add",
 * "Mean"), Keras 2's TFOpLambda and SlicingOpLambda ("math.add"), TensorFlow 2.0 to 2.3's TensorFlowOpLayer
 * ("AddV2"). Internal to io/keras.
 *
 * Where one is called it is translated to one or a few layers without weights, so that nothing else knows
 * operations, and what is written loads everywhere. To add one: a line in the table of topology_op.c, and its
 * translation in topology_op_math.c or topology_op_shape.c. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_OP_H
#define GODWIT_IO_KERAS_TOPOLOGY_OP_H

#include "io/keras/topology_args.h"
#include "shared/tensor.h"

#include <stdint.h>

struct cJSON;

#define TOPOLOGY_OP_MAX_STEPS 16

/* A layer that does part of an operation. Its inputs are tensors of the call, or, from the number of those
 * on, outputs of earlier steps. */
struct topology_op_step {
    struct cJSON *layer; /* owned: {"class_name": ..., "config": {...}} */
    int nin;
    int *in; /* [nin], owned */
};

struct topology_op_call {
    const struct cJSON *json;         /* the operation's: class and config */
    const struct topology_args *args; /* every tensor is there */
    const struct shape *shape;        /* [args->ntensors], rank 0: not known */

    int nsteps; /* the translation: steps, and which value is the result */
    struct topology_op_step step[TOPOLOGY_OP_MAX_STEPS];
    int result;

    const struct op_row *row; /* used while it is made */
    int nargs;
    struct topology_arg *arg; /* [nargs], owned */
    bool no_memory;
};

/* Is this the JSON of an operation, not of a layer? */
bool topology_is_op(const struct cJSON *json);

/* Its name in its own words: "math.add"; "?" if it has none. */
const char *topology_op_name(const struct cJSON *json);

/* Translates a call whose json, args and shape are filled in. *supported says whether there are layers for
 * it; then it must be cleared. */
status topology_op_translate(struct topology_op_call *call, bool *supported) STATUS_MUST_USE;
void topology_op_clear(struct topology_op_call *call);

/* An operation that gives a mask: which elements of its input are not equal to `*value`, or, with `*any`,
 * whether any of the elements on the last axis of a mask is set. Of a call with these arguments. */
bool topology_op_is_mask(const struct cJSON *json, const struct topology_args *args, double *value,
                         bool *any);

/* ---- for the translations ---- */

/* The argument at a position of the operation's signature; NULL if it is not given or is null. */
const struct topology_arg *op_argument(const struct topology_op_call *call, int position);
/* The number of its tensor, if it is one and nothing else; -1 otherwise. */
int op_tensor(const struct topology_op_call *call, int position);
/* A constant, wherever it is given: in the call, in the config, or in TensorFlow's node; NULL if nowhere. */
const struct cJSON *op_constant(const struct topology_op_call *call, int position);
/* A constant as numbers; false if it is not given, is none of that kind, or there are more than `room`. */
bool op_double(const struct topology_op_call *call, int position, double *value);
bool op_ints(const struct topology_op_call *call, int position, int room, int64_t *v, int *n);
/* A constant as a truth value; `otherwise` if it is not given. */
bool op_flag(const struct topology_op_call *call, int position, bool otherwise);
/* A constant as a string; NULL if it is none. */
const char *op_text(const struct topology_op_call *call, int position);
bool op_is(const struct topology_op_call *call, int position, const char *text);
/* The text a row of the table gives its translation: which of several operations it is. */
const char *op_variant(const struct topology_op_call *call);
/* Shape of a value; rank 0 if it is not known. */
const struct shape *op_shape(const struct topology_op_call *call, int tensor);

/* Adds a step with a config of JSON text; returns its value, -1 if there is no memory, or no room, or the
 * text is no JSON (a number was not finite). */
int op_emit(struct topology_op_call *call, const char *class_name, int nin, const int *in, const char *format,
            ...) __attribute__((format(printf, 5, 6)));
int op_emit_config(struct topology_op_call *call, const char *class_name, int nin, const int *in,
                   struct cJSON *config); /* `config` is taken */

/* Translations: set call->result and say whether they could. Each takes what its name says. */
typedef bool op_translation(struct topology_op_call *call);
op_translation op_add, op_multiply, op_subtract, op_divide, op_extreme, op_power, op_negative, op_absolute,
    op_clip, op_activation, op_relu, op_leaky_relu, op_elu, op_softmax, op_gelu, op_reduce, op_identity,
    op_cast; /* topology_op_math.c */
op_translation op_reshape, op_transpose, op_concatenate, op_expand_dims, op_squeeze, op_get_item,
    op_strided_slice, op_pad, op_resize, op_depth_to_space; /* topology_op_shape.c */

#endif

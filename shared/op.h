/* Operations: what an engine computes. A model graph lowers to an operation graph; an engine knows
 * operations only and no layer by name.
 *
 * Values are dense float32, row-major, channels last; dimension 0 is the batch (SHAPE_UNKNOWN until an
 * engine compiles for a batch). Parameters are numbered once per model graph: every operation graph cut or
 * rewritten from it keeps the numbers, so one `struct params` serves them all. */
#ifndef GODWIT_SHARED_OP_H
#define GODWIT_SHARED_OP_H

#include "shared/tensor.h"

/* X(name, text, inputs (-1: one or more), parameters at most) */
#define OP_KINDS(X)                                                                                          \
    X(CONV, "conv", 1, 2)             /* kernel (kh,kw,C/groups,M), [bias (M)] */                            \
    X(DEPTHWISE, "depthwise", 1, 2)   /* kernel (kh,kw,C,m), [bias (C*m)]; output channel c*m+j */           \
    X(DENSE, "dense", 1, 2)           /* kernel (K,M), [bias (M)]; on the last axis */                       \
    X(BATCH_NORM, "batch_norm", 1, 4) /* gamma, beta, mean, variance (C), gamma and beta may be absent */    \
    X(ACTIVATION, "activation", 1, 0)                                                                        \
    X(SOFTMAX, "softmax", 1, 0)                                                                              \
    X(BINARY, "binary", 2, 0) /* numpy broadcasting */                                                       \
    X(CONCAT, "concat", -1, 0)                                                                               \
    X(POOL, "pool", 1, 0)     /* over windows of (N,H,W,C) */                                                \
    X(REDUCE, "reduce", 1, 0) /* over whole axes, e.g. global pooling */                                     \
    X(PAD, "pad", 1, 0)       /* zeros */                                                                    \
    X(RESIZE, "resize", 1, 0) /* (N,H,W,C) by whole factors */                                               \
    X(AFFINE, "affine", 1, 0) /* x*scale + offset with constants, scalar or per channel */                   \
    X(RESHAPE, "reshape", 1, 0)                                                                              \
    X(DROPOUT, "dropout", 1, 0) /* identity except in training */

enum op_kind {
#define OP_ENUM(name, text, inputs, params) OP_##name,
    OP_KINDS(OP_ENUM)
#undef OP_ENUM
};

#define ACTIVATIONS(X)                                                                                       \
    X(LINEAR, "linear")                                                                                      \
    X(RELU, "relu") /* alpha: negative slope, beta: maximum (INFINITY if none), gamma: threshold */          \
    X(SIGMOID, "sigmoid")                                                                                    \
    X(TANH, "tanh")                                                                                          \
    X(SOFTPLUS, "softplus")                                                                                  \
    X(SOFTSIGN, "softsign")                                                                                  \
    X(ELU, "elu") /* alpha */                                                                                \
    X(SELU, "selu")                                                                                          \
    X(EXPONENTIAL, "exponential")                                                                            \
    X(SILU, "silu")                                                                                          \
    X(GELU, "gelu")                 /* exact, by erf */                                                      \
    X(GELU_TANH, "gelu_tanh")       /* the tanh approximation */                                             \
    X(HARD_SIGMOID, "hard_sigmoid") /* clip(alpha*x + beta, 0, 1) */                                         \
    X(HARD_SILU, "hard_silu")       /* x * clip(x/6 + 1/2, 0, 1) */

enum activation {
#define ACTIVATION_ENUM(name, text) ACTIVATION_##name,
    ACTIVATIONS(ACTIVATION_ENUM)
#undef ACTIVATION_ENUM
};

enum binary { BINARY_ADD, BINARY_SUB, BINARY_MUL, BINARY_MAX, BINARY_MIN };
enum pool { POOL_MAX, POOL_MEAN /* padding is not counted */ };
enum reduce { REDUCE_MEAN, REDUCE_MAX };
enum resize { RESIZE_NEAREST, RESIZE_BILINEAR /* half-pixel centres, no antialiasing */ };

/* A sliding window; order of the pairs: height, width. Padding before and after. */
struct window {
    int size[2], stride[2], dilation[2];
    int before[2], after[2];
};

struct op {
    enum op_kind kind;
    int node; /* graph node it comes from, for reports; -1 if none */
    int nin;
    int *in;      /* [nin] values, owned */
    int out;      /* value */
    int param[4]; /* parameters, -1 where absent, in the order of OP_KINDS */
    union {
        struct {
            struct window window;
            int groups;
        } conv; /* CONV and DEPTHWISE */
        struct {
            float epsilon, momentum;
        } norm;
        struct {
            enum activation kind;
            float alpha, beta, gamma;
        } act;
        struct {
            int axis;
        } axis; /* SOFTMAX, CONCAT; counted from 0 with the batch */
        struct {
            enum binary kind;
        } binary;
        struct {
            enum pool kind;
            struct window window;
        } pool;
        struct {
            enum reduce kind;
            unsigned axes; /* bit i: axis i */
        } reduce;          /* output shape says keepdims */
        struct {
            int before[SHAPE_MAX_RANK], after[SHAPE_MAX_RANK];
        } pad;
        struct {
            enum resize kind;
            int factor[2];
        } resize;
        struct {
            int n;                 /* 1 or C */
            float *scale, *offset; /* [n], owned */
        } affine;
        struct {
            float rate;
        } dropout;
    } u;
};

struct param {
    struct shape shape;
    int64_t count;
    bool trainable; /* false: batch-norm statistics */
    int layer;      /* graph layer and its weight, in the layer's order */
    int weight;
};

struct opgraph {
    int nvalues, nops, nparams, ninputs, noutputs;
    struct shape *value; /* [nvalues] */
    struct op *op;       /* [nops], topologically sorted */
    struct param *param; /* [nparams] */
    int *input;          /* [ninputs] values */
    int *output;         /* [noutputs] values */
};

status opgraph_create(struct opgraph **graph) STATUS_MUST_USE;
void opgraph_destroy(struct opgraph **graph);

/* Appends; the new index is stored in *index. `op_add` appends a copy of `*op` with `op->in` copied and
 * `op->out` set to a new value of shape `*shape`, whose index goes to *value. AFFINE's arrays are moved. */
status opgraph_add_value(struct opgraph *graph, const struct shape *shape, int *value) STATUS_MUST_USE;
status opgraph_add_param(struct opgraph *graph, const struct param *param, int *index) STATUS_MUST_USE;
status opgraph_add_op(struct opgraph *graph, const struct op *op, const struct shape *shape,
                      int *value) STATUS_MUST_USE;
status opgraph_set_io(struct opgraph *graph, int ninputs, const int *inputs, int noutputs,
                      const int *outputs) STATUS_MUST_USE;

/* A new graph with only the operations between the values `inputs` and `outputs` of `graph`. Values and
 * parameters keep their numbers. Error: INTERNAL if an output cannot be computed from the inputs. */
status opgraph_cut(const struct opgraph *graph, int ninputs, const int *inputs, int noutputs,
                   const int *outputs, struct opgraph **cut) STATUS_MUST_USE;

/* The operation that computes `value`, or -1 (an input). */
int opgraph_producer(const struct opgraph *graph, int value);

/* The value before a final SOFTMAX (the logits), or `value` itself. */
int opgraph_before_softmax(const struct opgraph *graph, int value);

/* Multiply-adds counted as two, for one sample. */
double op_flops(const struct opgraph *graph, const struct op *op);
double opgraph_flops(const struct opgraph *graph);

const char *op_name(enum op_kind kind);
const char *activation_name(enum activation kind);

/* Padding of the TensorFlow/Keras "same" rule: out = ceil(in/stride), the odd cell goes after. */
void window_pad_same(struct window *window, const int64_t in[2]);
/* Output height and width; 0 if the window does not fit. */
void window_output(const struct window *window, const int64_t in[2], int64_t out[2]);

/* Values of all parameters of a model: one arena, parameter i at data + offset[i]. The trainable ones lie
 * first, so that an optimizer and an all-reduce see one range [0, ntrainable). Offsets are multiples of 16.
 */
struct params {
    int n;
    int64_t *offset;    /* [n] floats */
    int64_t *count;     /* [n] floats */
    int64_t ntrainable; /* floats, padding included */
    int64_t total;      /* floats, padding included */
    float *data;        /* [total], owned, 64-byte aligned */
};

/* Zero-filled. */
status params_create(const struct opgraph *graph, struct params **params) STATUS_MUST_USE;
status params_clone(const struct params *params, struct params **clone) STATUS_MUST_USE;
void params_destroy(struct params **params);

static inline float *params_at(const struct params *params, int i) {
    return params->data + params->offset[i];
}

#endif

/* Operations: what an engine computes. A model graph lowers to an operation graph; an engine knows
 * operations only and no layer by name.
 *
 * Values are dense float32, row-major, channels last; dimension 0 is the batch (SHAPE_UNKNOWN until an
 * engine compiles for a batch). Parameters are numbered once per model graph: every operation graph cut or
 * rewritten from it keeps the numbers, so one `struct params` serves them all. */
#ifndef GODWIT_SHARED_OP_H
#define GODWIT_SHARED_OP_H

#include "shared/tensor.h"

struct comm;
struct comm_window;

/* X(name, text, inputs (-1: one or more), parameters at most) */
#define OP_KINDS(X)                                                                                          \
    X(CONV, "conv", 1, 2)                     /* kernel (kh,kw,C/groups,M), [bias (M)] */                    \
    X(DEPTHWISE, "depthwise", 1, 2)           /* kernel (kh,kw,C,m), [bias (C*m)]; output channel c*m+j */   \
    X(CONV_TRANSPOSE, "conv_transpose", 1, 2) /* kernel (kh,kw,M,C), [bias (M)]; see below */                \
    X(DENSE, "dense", 1, 2)                   /* kernel (K,M), [bias (M)]; on the last axis */               \
    X(BATCH_NORM, "batch_norm", 1, 4) /* gamma, beta, mean, variance (C), gamma and beta may be absent */    \
    X(ACTIVATION, "activation", 1, 0)                                                                        \
    X(PRELU, "prelu", 1, 1)           /* alpha, of a sample's rank, broadcast: x > 0 ? x : alpha * x */      \
    X(SCALE, "scale", 1, 2)           /* gamma, beta (C), either may be absent: x * gamma + beta */          \
    X(LAYER_NORM, "layer_norm", 1, 2) /* gamma, beta, shaped as the axes it is over; may be absent */        \
    X(SOFTMAX, "softmax", 1, 0)                                                                              \
    X(BINARY, "binary", 2, 0) /* numpy broadcasting */                                                       \
    X(MATMUL, "matmul", 2, 0) /* (...,m,k) by (...,k,n), all axes before equal */                            \
    X(CONCAT, "concat", -1, 0)                                                                               \
    X(POOL, "pool", 1, 0)     /* over windows of (N,H,W,C) */                                                \
    X(REDUCE, "reduce", 1, 0) /* over whole axes, e.g. global pooling */                                     \
    X(PAD, "pad", 1, 0)       /* zeros */                                                                    \
    X(SLICE, "slice", 1, 0)   /* part of each axis, or an axis reversed */                                   \
    X(TRANSPOSE, "transpose", 1, 0)                                                                          \
    X(RESIZE, "resize", 1, 0) /* (N,H,W,C), to any height and width */                                       \
    X(AFFINE, "affine", 1, 0) /* x*scale + offset with constants, scalar or per channel */                   \
    X(RESHAPE, "reshape", 1, 0)                                                                              \
    X(EMBEDDING, "embedding", 1, 1)  /* rows of table (V,D), V up to 2^24: (N,...) ids to (N,...,D) */       \
    X(RECURRENT, "recurrent", -1, 3) /* kernel, recurrent kernel, [bias]; see struct recurrent */            \
    X(DROPOUT, "dropout", 1, 0)      /* identity except in training */

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
    X(HARD_SILU, "hard_silu")       /* x * clip(x/6 + 1/2, 0, 1) */                                          \
    X(MISH, "mish")                 /* x * tanh(log(1 + exp(x))) */                                          \
    X(CLIP, "clip")                 /* to alpha..beta */                                                     \
    X(LOG, "log")                                                                                            \
    X(RSQRT, "rsqrt")         /* 1 / sqrt(max(x + beta, gamma)) */                                           \
    X(NOT_EQUAL, "not_equal") /* x != gamma ? 1 : 0; no gradient */

enum activation {
#define ACTIVATION_ENUM(name, text) ACTIVATION_##name,
    ACTIVATIONS(ACTIVATION_ENUM)
#undef ACTIVATION_ENUM
};

/* An activation and its parameters, as ACTIVATIONS has them. */
struct activation_function {
    enum activation kind;
    float alpha, beta, gamma;
};

enum binary { BINARY_ADD, BINARY_SUB, BINARY_MUL, BINARY_DIV, BINARY_MAX, BINARY_MIN };
enum pool { POOL_MAX, POOL_MEAN /* padding is not counted */ };
enum reduce { REDUCE_MEAN, REDUCE_MAX, REDUCE_SUM };
enum cell { CELL_SIMPLE, CELL_LSTM, CELL_GRU };
/* Both with half-pixel centres: output i is at (i + 1/2) * in/out - 1/2 of the input. Nearest takes the pixel
 * that lies in, bilinear is without antialiasing. */
enum resize { RESIZE_NEAREST, RESIZE_BILINEAR };

/* A sliding window; order of the pairs: height, width. Padding before and after. */
struct window {
    int size[2], stride[2], dilation[2];
    int before[2], after[2];
};

/* A recurrent layer over the time axis of (N,T,C), u units. Keras's order of gates: LSTM i, f, c, o; GRU z,
 * r, h. Parameters: kernel (C, g*u), recurrent kernel (u, g*u), bias (g*u), or (2, g*u) with reset_after: of
 * the inputs, then of the recurrent part. Inputs: x, then `states` initial states (N,u): hidden, then the
 * cell's; zeros if there are none; then, if `mask`, a mask (N,T) of ones and zeros: where it is zero, the
 * states stay as they are and the output is the one before (zero at first). Output (N,T,u) in the order of
 * computation: with `backwards` the first one belongs to the last x. With `cell_state` (N,T,2u): hidden, then
 * the cell's state. */
struct recurrent {
    enum cell cell;
    struct activation_function activation, gate; /* gate: "recurrent_activation" */
    bool reset_after;                            /* GRU: the reset gate acts after the recurrent product */
    bool backwards, mask, cell_state;
    int states;
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
        } conv; /* CONV and DEPTHWISE. CONV_TRANSPOSE: the window of the convolution from its output to its
                   input, whose gradient by the input it is; groups is 1 */
        struct {
            float epsilon, momentum;
            bool fixed;    /* BATCH_NORM: always by the moving statistics, which never change */
            unsigned axes; /* LAYER_NORM: bit i: axis i */
        } norm;            /* BATCH_NORM and LAYER_NORM */
        struct activation_function act;
        struct {
            int axis;
            bool causal; /* SOFTMAX over the last axis: row i of the axis before sees columns 0 to i */
        } axis;          /* SOFTMAX, CONCAT; counted from 0 with the batch */
        struct {
            bool transpose_a, transpose_b; /* of the last two axes */
            float scale;                   /* of the product */
        } matmul;
        struct {
            int start[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK]; /* steps may be negative; the output shape says
                                                                how many; axis 0: start 0, step 1 */
        } slice;
        struct {
            int axis[SHAPE_MAX_RANK]; /* axis i of the output is axis axis[i] of the input; axis[0] is 0 */
        } transpose;
        struct recurrent recurrent;
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
        } resize; /* the output shape says the size */
        struct {
            int n;                 /* 1 or C */
            float *scale, *offset; /* [n], owned */
        } affine;
        struct {
            float rate;
            unsigned shared; /* bit i: one draw for all of axis i */
        } dropout;
    } u;
};

/* What inference may round kernels and activations to where an engine is faster so. One that has no such
 * arithmetic, or where an operation has none, computes in float32. Inputs and outputs are float32. Sums are
 * float32 (bfloat16) or exact (int8). */
#define PRECISIONS(X)                                                                                        \
    X(FLOAT32, "float32")                                                                                    \
    X(BFLOAT16, "bfloat16")                                                                                  \
    X(INT8, "int8") /* a scale for each output channel of a kernel, one for each value, by its range */

enum precision {
#define PRECISION_ENUM(name, text) PRECISION_##name,
    PRECISIONS(PRECISION_ENUM)
#undef PRECISION_ENUM
};

/* What a value lies between; NaN where that is not known. In int8 what lies outside is clipped. */
struct value_range {
    float low, high;
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

/* The same operations between the same values, whatever their shapes? So that what is known of one's values
 * by number holds for the other's. */
bool opgraph_same(const struct opgraph *a, const struct opgraph *b);

/* The operation that computes `value`, or -1 (an input). */
int opgraph_producer(const struct opgraph *graph, int value);

/* The only operation that reads `value`, which reads it once; -1: none, or several. */
int opgraph_only_reader(const struct opgraph *graph, int value);

/* Which parameters the operations use: used[graph->nparams], false at first. */
void opgraph_mark_params(const struct opgraph *graph, bool *used);

/* The value before a final SOFTMAX over the last axis (the logits), or `value` itself. */
int opgraph_before_softmax(const struct opgraph *graph, int value);

/* Multiply-adds counted as two, for one sample. */
double op_flops(const struct opgraph *graph, const struct op *op);
double opgraph_flops(const struct opgraph *graph);

const char *op_name(enum op_kind kind);
const char *activation_name(enum activation kind);
const char *precision_name(enum precision precision);
bool precision_find(const char *name, enum precision *precision); /* false: there is none of that name */

/* Padding of the TensorFlow/Keras "same" rule: out = ceil(in/stride), the odd cell goes after. */
void window_pad_same(struct window *window, const int64_t in[2]);
/* Output height and width; 0 if the window does not fit. */
void window_output(const struct window *window, const int64_t in[2], int64_t out[2]);

/* Values of all parameters of a model: one arena, parameter i at data + offset[i]. The trainable ones lie
 * first, so that an optimizer and an all-reduce see one range [0, ntrainable). Offsets are multiples of 16.
 */
struct params {
    int n;
    int64_t *offset;            /* [n] floats */
    int64_t *count;             /* [n] floats; 0: it is not there, see params_create_part() */
    int64_t ntrainable;         /* floats, padding included */
    int64_t total;              /* floats, padding included */
    float *data;                /* [total], 64-byte aligned, owned: by this rank, or by the window */
    struct comm_window *window; /* that data lies in, once for all ranks of a node; NULL: a rank's own */
};

/* Zero-filled. */
status params_create(const struct opgraph *graph, struct params **params) STATUS_MUST_USE;
/* The same, of only those that the graph's operations use; the others have no place. */
status params_create_part(const struct opgraph *graph, struct params **params) STATUS_MUST_USE;
/* INTERNAL error if it lacks a parameter that the graph's operations use, or has it of another size. */
status params_check(const struct params *params, const struct opgraph *graph) STATUS_MUST_USE;
/* Copies the parameters that both have. */
void params_copy(const struct params *from, struct params *to);
/* The same in memory that the ranks of `node` share: who writes them is to be parted from who reads them by
 * params_sync. Collective over `node`. */
status params_create_shared(const struct opgraph *graph, const struct comm *node,
                            struct params **params) STATUS_MUST_USE;
status params_sync(const struct params *params) STATUS_MUST_USE; /* collective over the node if shared */
/* A rank's own copy. */
status params_clone(const struct params *params, struct params **clone) STATUS_MUST_USE;
void params_destroy(struct params **params); /* collective over the node if shared */

static inline float *params_at(const struct params *params, int i) {
    return params->data + params->offset[i];
}

#endif

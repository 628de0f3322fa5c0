/* Layer kinds: what a Keras file says. One kind is one file in shared/layers/ and one line of
 * shared/layers/registry.c. A kind knows its attributes, weights, shapes, how channels pass through it, and
 * how it lowers to operations; file formats and engines know no kind by name. */
#ifndef GODWIT_SHARED_LAYER_H
#define GODWIT_SHARED_LAYER_H

#include "shared/op.h"

/* ---- attributes ---- */

enum attr_type {
    ATTR_BOOL,
    ATTR_INT, /* a list of one number is read as that number: BatchNormalization's axis [3] */
    ATTR_FLOAT,
    ATTR_STRING, /* one of `choices` if given */
    ATTR_INTS,   /* Keras writes a scalar or a list, possibly nested: stored flat */
    ATTR_FLOATS, /* likewise */
    ATTR_SHAPE,  /* dimensions, null is SHAPE_UNKNOWN */
    ATTR_LAYER,  /* another layer: what TimeDistributed and Bidirectional wrap */
    ATTR_LAYERS  /* a list of them: the cells of StackedRNNCells */
};

struct attr_spec {
    const char *name;   /* key in Keras 3, and Godwit's name */
    const char *keras2; /* key in Keras 2 where it differs, else NULL */
    enum attr_type type;
    const char *initial; /* default as text: "true", "3", "0.001", "valid", "1,1"; NULL: required;
                            "null": absent (attr.present is false). Where the default is a value, a null in a
                            file stands for the default */
    const char *choices; /* for strings: "valid|same"; NULL: any */
    enum {
        ATTR_EITHER,
        ATTR_KERAS2_ONLY,
        ATTR_KERAS3_ONLY,
        ATTR_NEWER /* not in the older ones of either; like those of one only, written where it is not the
                      default */
    } dialect;     /* which Keras has it */
    int length;    /* ATTR_INTS: a scalar is repeated to this many; 0: as read */
    bool pairs;    /* ATTR_INTS: four numbers are written as [[a,b],[c,d]] */
    bool free;     /* ATTR_INTS: a null among them stands for -1, as TensorFlow.js writes that */
    bool call;     /* an argument of the call, not of the constructor: use_causal_mask */
};

struct layer;

struct attr {
    bool present; /* false: null */
    union {
        bool b;
        int64_t i;
        double f;
        char *s; /* owned */
        struct {
            int n;
            int64_t *v;
        } ints; /* owned; also ATTR_SHAPE */
        struct {
            int n;
            double *v;
        } floats;            /* owned */
        struct layer *layer; /* owned */
        struct {
            int n;
            struct layer *v;
        } layers; /* owned */
    } u;
};

/* Parses a default's text. */
status attr_parse(const struct attr_spec *spec, const char *text, struct attr *attr) STATUS_MUST_USE;
status attr_copy(const struct attr_spec *spec, const struct attr *from, struct attr *to) STATUS_MUST_USE;
bool attr_equal(const struct attr_spec *spec, const struct attr *a, const struct attr *b);
void attr_clear(const struct attr_spec *spec, struct attr *attr); /* frees, sets absent */
/* Absent though not "null" by default, or of the wrong length: DATA error. A string not among the choices:
 * UNSUPPORTED. */
status attr_check(const struct attr_spec *spec, const struct attr *attr) STATUS_MUST_USE;

/* ---- layers ---- */

struct weight {
    const char *name;   /* Keras 3 name, "kernel"; borrowed from the kind. No two of a layer are equal: what
                           belongs to an inner layer is "forward/kernel" */
    const char *keras2; /* Keras 2 name where it differs ("depthwise_kernel"), else NULL */
    struct shape shape; /* in files */
    struct shape view;  /* as operations take it, of as many elements: Conv1D's (k,C,M) is (1,k,C,M); the
                           same as `shape` if its rank is 0 */
    char path[48];      /* where Keras 3's .weights.h5 has it within the layer's group: "" or "cell" */
    bool trainable;
    int in_axis;   /* axis indexed by the layer's input channels, -1 if none */
    int out_axis;  /* axis indexed by the layer's output channels, -1 if none. One axis may be both, */
                   /* where channels pass straight through: batch norm, depthwise with multiplier 1 */
    int blocks;    /* out_axis has the output's channels so many times, one after the other, as the gates of a
                      recurrent layer; 0: once */
    bool feedback; /* in_axis is indexed by the layer's output channels instead, which it reads again: a
                      recurrent kernel */
    unsigned inner_axes; /* bit i: axis i is indexed by the channels inside the layer, several positions each
                            if it is so many times as long; on at most one axis */
};
#define LAYER_MAX_WEIGHTS 16
#define LAYER_MAX_OUTPUTS 8

struct layer_kind;

struct layer {
    const struct layer_kind *kind;
    char *name; /* owned, unique in the graph */
    bool trainable;
    struct attr *attr; /* [kind->nattrs], owned */
    int nweights;      /* known after shape inference */
    struct weight weight[LAYER_MAX_WEIGHTS];
};

struct lowering;
struct channels;

struct layer_kind {
    const char *class_name; /* in Keras: "Conv2D" */
    const char *module; /* of the class in Keras 3: "keras.src.applications.convnext"; "": Keras has no such
                           class; NULL: keras.layers */
    const struct attr_spec *attrs;
    int nattrs;
    int min_inputs, max_inputs; /* max -1: any number */
    const char *call_args;      /* names of the inputs where a call may give them by name, in order:
                                   "query|value|key"; NULL: none */
    bool passes_mask;           /* the output's mask is the first input's that has one (Keras's
                                   supports_masking); false: it has none, unless lower() sets it */
    int spatial; /* axes that it works along: 2 of images (N,H,W,C), 1 of sequences (N,T,C); 0: others */
    bool affine; /* but for its activation, the output is affine in the last kernel and the bias: a batch norm
                    after it can go into them, and they can be refitted */
    bool fitted; /* it is not affine, but its trainable weights can be refitted all the same */
    bool positionwise; /* each position on the axes before the last (or before attribute "axis") is
                          computed on its own, whatever these axes are: TimeDistributed(Dense) is
                          Dense */
    const struct layer_kind *becomes; /* a layer of this kind is read as one of that kind, which has the same
                                         attributes in the same order, perhaps with other defaults */

    /* Options that this program cannot honour: UNSUPPORTED, naming the attribute. May be NULL. */
    status (*check)(const struct layer *layer);

    /* Shapes of the outputs (dimension 0 is the batch). DATA error if the inputs do not fit. */
    status (*infer)(const struct layer *layer, const struct shape *in, int nin, struct shape *out, int *nout);

    /* Fills weight[] in Keras's order (all trainable first, then the others) for these inputs; NULL: none. */
    status (*weights)(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights);

    /* How channels (the last axis) pass through; see shared/channels.h. NULL: cannot be pruned. */
    status (*channels)(const struct layer *layer, struct channels *channels);

    /* Emits operations; see struct lowering. */
    status (*lower)(const struct layer *layer, struct lowering *lowering);

    /* Changes attributes so that the layer has `n` output channels (a width change). NULL: follows its
     * inputs. */
    status (*set_width)(struct layer *layer, int64_t n);
    /* Likewise of the channels inside the layer; NULL: it has none. */
    status (*set_inner)(struct layer *layer, int64_t n);
};

/* What lower() gets: the values that go in, the layer's parameters, and where to put what comes out. */
struct lowering {
    struct opgraph *graph;
    int node;
    int keras_version; /* major: 1, 2 or 3 */
    int nin;
    const int *in;              /* [nin] values */
    const int *mask;            /* [nin] values (N,T) of ones and zeros: which time steps count; -1: all do */
    const int *param;           /* [layer->nweights] parameters */
    int nout;                   /* to be set */
    int out[LAYER_MAX_OUTPUTS]; /* to be set: values */
    int out_mask[LAYER_MAX_OUTPUTS]; /* -1, or see passes_mask, unless set */
};

/* Appends an operation to lowering->graph: kind, inputs and attributes from *op (whose `node` is filled in;
 * unused entries of op->param must be -1). The new value is returned in *value.
 *
 * Transpositions move towards the outputs where that changes nothing, and meet there: an operation on single
 * elements whose inputs are all transposed in the same way is done before, and the transposition after it; a
 * transposition of a transposition becomes one, or none. What nobody reads then stays in the graph; engines
 * leave it out. */
status lowering_add(struct lowering *lowering, const struct op *op, const struct shape *shape,
                    int *value) STATUS_MUST_USE;
/* An operation template: all params -1, one input. */
struct op op_make(enum op_kind kind, int *in, int nin);
/* Shape of a value; the pointer is good until the next lowering_add(). */
const struct shape *lowering_shape(const struct lowering *lowering, int value);
/* Activations by Keras's names, in shared/layers/activation_function.c.
 *
 * Appends the one a layer names in its attribute "activation" ("linear" appends nothing). */
status lowering_add_activation(struct lowering *lowering, const char *name, int value,
                               int *out) STATUS_MUST_USE;
/* Is this an activation we know? UNSUPPORTED error naming it otherwise. */
status activation_check(const char *name) STATUS_MUST_USE;
/* Does it map each element alone? Not softmax. */
bool activation_is_elementwise(const char *name);
/* The function itself, as operations take it. UNSUPPORTED error for what is more than one operation, such as
 * softmax, and for what we do not know. */
status activation_find(const char *name, int keras_version,
                       struct activation_function *function) STATUS_MUST_USE;

/* Lowers a layer: fills in out_mask as the kind passes masks on, then calls its lower(). For layers inside
 * layers `lowering` is one of their own, on the same graph. */
status layer_lower(const struct layer *layer, struct lowering *lowering) STATUS_MUST_USE;

/* All kinds, in shared/layers/registry.c. */
const struct layer_kind *layer_kind_find(const char *class_name); /* NULL if unknown */
int layer_kind_count(void);
const struct layer_kind *layer_kind_at(int i);

/* A layer with default attributes. `name` is copied. */
status layer_create(const struct layer_kind *kind, const char *name, struct layer *layer) STATUS_MUST_USE;
status layer_copy(const struct layer *from, const char *name, struct layer *to) STATUS_MUST_USE;
void layer_clear(struct layer *layer);
/* The same kind and the same attributes; names may differ. */
bool layer_equal(const struct layer *a, const struct layer *b);
/* Attributes complete and supported: attr_check() of each, then the kind's own check. */
status layer_check(const struct layer *layer) STATUS_MUST_USE;

/* Attribute by its name, which must be in the kind's table (aborts otherwise: a programming error). */
struct attr *layer_attr(const struct layer *layer, const char *name);
bool layer_has_attr(const struct layer *layer, const char *name);
static inline int64_t layer_int(const struct layer *layer, const char *name) {
    return layer_attr(layer, name)->u.i;
}
static inline double layer_float(const struct layer *layer, const char *name) {
    return layer_attr(layer, name)->u.f;
}
static inline bool layer_bool(const struct layer *layer, const char *name) {
    return layer_attr(layer, name)->u.b;
}
static inline const char *layer_string(const struct layer *layer, const char *name) {
    return layer_attr(layer, name)->u.s;
}

#endif

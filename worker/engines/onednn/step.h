/* Steps: what the onednn engine runs, in order. A step is one operation of the graph with those fused into
 * it. How one kind of operation is computed is one `const struct step_kind` in a file of this folder and one
 * line of kinds.c. All values are dense, channels last, as at the engine's interface; how they are stored:
 * format.h. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_STEP_H
#define GODWIT_WORKER_ENGINES_ONEDNN_STEP_H

#include "worker/engine.h"
#include "worker/engines/onednn/dnnl.h"
#include "worker/engines/onednn/format.h"

enum phase { PHASE_FORWARD, PHASE_BACKWARD, PHASES };

struct step_kind;

/* A value that a step sees as float32 in its scratch memory. */
struct conversion {
    size_t at;
    float *stored; /* while the step runs */
};

struct step {
    const struct step_kind *kind;
    const struct op *op;   /* main operation, borrowed from the exec's graph */
    const struct op *norm; /* batch norm or scale folded into its weights (EXEC_INFER), or NULL */
    const struct op *act;  /* activation applied at the end, or NULL */
    struct window window;  /* CONV and DEPTHWISE: with a preceding PAD folded in */
    int addend;            /* value added before the activation, or -1 (EXEC_INFER); the last of `in` */
    int nin, *in;          /* values, owned */
    int out;
    int position; /* of the last operation fused, in the graph */
    int threads;  /* that run it */

    /* Set by prepare. */
    bool any_format; /* forward reads and writes values as they are stored; if not, they are converted */
    bool alias;      /* the output is the first input's memory; forward is not called */
    bool inplace;    /* forward may write the output over the first input */
    bool inplace_backward;    /* backward may write the first input's gradient over the output's */
    bool needs_in, needs_out; /* backward reads the inputs, the output */
    size_t saved_bytes;       /* kept from forward to backward */
    size_t scratch_bytes[PHASES];
    const char *implementation; /* for profiles: what computes it, borrowed; NULL: own loops */
    void *state;                /* the kind's own, released by its destroy */

    /* Set by the exec. */
    struct conversion *conversion; /* [nin + 1] of inputs, of the output; NULL: nothing is converted */
    void *saved, *scratch[PHASES];
    bool *accumulate;       /* [nin] add to the input's gradient, which another step has written already */
    double seconds[PHASES]; /* of the fastest run, when profiling */
};

struct onednn_exec {
    struct exec base;
    struct opgraph *graph;       /* owned */
    struct exec_options options; /* batch: of a part; threads: of the step that is prepared or runs */
    int64_t whole;               /* samples of a run, in parts */
    int threads;                 /* of all that it may use */
    float **gathered;            /* [noutputs] of all parts; NULL: there is one */
    int64_t global_batch;
    struct dnn *dnn;
    int nsteps;
    struct step *step;               /* [nsteps], owned */
    struct shape *shape;             /* [nvalues] with the batch */
    int64_t *count;                  /* [nvalues] elements */
    bool *wants_grad;                /* [nvalues] */
    struct format *format, *rounded; /* [nvalues] how it is stored; how it would be if it were not float32 */
    int *root;                       /* [nvalues] value whose memory this one shares (itself if none) */
    float **value;                   /* [nvalues]; other numbers where `format` says so */
    float **grad;                    /* [nvalues] NULL where not wanted */
    char *arena;
    size_t nbytes; /* held, arena included */
    uint64_t rng_step, first_sample;
    bool profile, has_params, forward_done;

    struct params *params; /* borrowed */
    struct params *grads;  /* borrowed, during backward */
    int *param_uses;       /* [nparams] steps that make a gradient for it */
    int *param_left;       /* [nparams] of these, not done yet in this backward */
    float *shared_grad;    /* for parameters of several steps: a contribution before it is added */
};

struct step_kind {
    /* Checks shapes, creates primitives, says what memory the step needs. */
    status (*prepare)(struct onednn_exec *exec, struct step *step);
    /* EXEC_INFER, new parameters: packs weights. May be NULL. */
    status (*pack)(struct onednn_exec *exec, struct step *step);
    status (*forward)(struct onednn_exec *exec, struct step *step);
    /* Writes the gradients of inputs and parameters; may change the output's gradient. */
    status (*backward)(struct onednn_exec *exec, struct step *step);
    void (*destroy)(struct step *step); /* may be NULL: the state is freed */
    /* EXEC_INFER, before prepare: what it can read and write; NULL: float32 only. What it says it can but
     * finds in prepare it cannot, is converted for it. */
    enum step_formats (*formats)(const struct onednn_exec *exec, const struct step *step);
};

const struct step_kind *step_kind_of(enum op_kind kind);

/* plan.c: fills exec->step from the graph, sorted. */
status plan_steps(struct onednn_exec *exec) STATUS_MUST_USE;

/* memory.c: after all steps are prepared, gives every value, gradient and scratch its memory. */
status memory_bind(struct onednn_exec *exec) STATUS_MUST_USE;

/* Values of a parameter; NULL if `param` is -1. */
static inline float *step_param(const struct onednn_exec *exec, int param) {
    return param < 0 ? NULL : params_at(exec->params, param);
}

/* Is a gradient wanted of parameter `param` (may be -1)? */
static inline bool step_wants_param(const struct onednn_exec *exec, int param) {
    return param >= 0 && exec->graph->param[param].trainable;
}

/* Where to write it, and what to call when that is done. */
float *step_param_grad(struct onednn_exec *exec, int param);
void step_param_done(struct onednn_exec *exec, int param);

/* Room in the scratch (or saved memory) of a step, for prepare: returns its offset in bytes. */
size_t step_reserve(size_t *nbytes, size_t more);

/* INTERNAL error that names the operation. */
status step_mismatch(const struct onednn_exec *exec, const struct step *step,
                     const char *what) STATUS_MUST_USE;

/* Memory the step keeps as long as it lives, counted in exec_memory; freed by the step. */
status step_alloc(struct onednn_exec *exec, const char *what, size_t count, size_t size,
                  void **memory) STATUS_MUST_USE;

/* Input k of a step; the output after them. */
static inline int step_value(const struct step *s, int k) {
    return k < s->nin ? s->in[k] : s->out;
}

/* run.c: how many threads oneDNN and OpenMP use, until they are given back; returns how many it was. */
int threads_set(int threads);
/* The same for a step that is prepared or runs from now on. */
void use_threads(struct onednn_exec *exec, int threads);
extern const struct exec_class onednn_exec_class;

/* exec.c */
void onednn_destroy(struct exec *exec);

static inline bool step_trains(const struct onednn_exec *exec) {
    return exec->options.mode == EXEC_TRAIN;
}

#endif

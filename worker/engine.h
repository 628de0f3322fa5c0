/* Engines: what computes operation graphs. One engine is one folder in worker/engines/ and one line of
 * worker/engines/registry.c.
 *
 * An engine compiles an operation graph for a batch and a mode; memory is planned then, and running allocates
 * nothing. Values at the interface are dense float32, row-major, channels last. Nothing here is collective:
 * what ranks exchange goes through the two hooks in exec_options. An exec is used by one thread at a time. */
#ifndef GODWIT_WORKER_ENGINE_H
#define GODWIT_WORKER_ENGINE_H

#include "shared/op.h"

enum exec_mode {
    EXEC_INFER, /* batch norm by its moving statistics, dropout off; free to fuse and to pack weights */
    EXEC_TRAIN  /* backward available */
};

enum batch_norm_mode {
    BATCH_NORM_BATCH, /* statistics of the batch, moving ones updated (training) */
    BATCH_NORM_FROZEN /* moving statistics, in training too */
};

struct exec_options {
    int64_t batch; /* samples at a time, at least 1 */
    enum exec_mode mode;
    int threads;
    enum batch_norm_mode batch_norm; /* EXEC_TRAIN only */
    uint64_t seed;                   /* dropout masks depend on (seed, exec_set_step, first_sample + i) */
    bool input_grads;                /* EXEC_TRAIN: exec_input_grad is wanted; if not, its work is saved */
    enum precision precision;        /* EXEC_INFER only: see op.h */
    const struct value_range *range; /* PRECISION_INT8: [graph->nvalues], read by compile only */

    /* Called in backward as soon as parameter `param`'s gradient is complete; also once with -1 between
     * operations, so that communication can progress. May be NULL. */
    void (*grad_ready)(void *context, int param);
    /* Sums v[n] over the ranks in place, for batch-norm statistics over the global batch; every rank's exec
     * calls it in the same order. NULL: this rank alone. Returns SUCCESS or an error, which ends the run. */
    status (*sum)(void *context, double *v, int n);
    int64_t global_batch; /* samples of all ranks that `sum` sums over; 0 means `batch` */
    void *context;
};

struct exec;

struct engine {
    const char *name;        /* "onednn" */
    const char *description; /* one line for --help */
    /* Is that precision faster than float32 with this engine on this processor? */
    bool (*has)(enum precision precision);
    /* Compiles graph (only what its outputs need, which may be any values). Graph and options are copied.
     * UNSUPPORTED error naming the operation if the engine cannot do it. */
    status (*compile)(const struct opgraph *graph, const struct exec_options *options, struct exec **exec);
};

/* What an engine's exec starts with. */
struct exec_class {
    status (*set_params)(struct exec *exec, struct params *params);
    status (*forward)(struct exec *exec, const float *const *inputs);
    const float *(*output)(const struct exec *exec, int i);
    status (*backward)(struct exec *exec, const float *const *output_grads, struct params *grads);
    const float *(*input_grad)(const struct exec *exec, int i);
    void (*set_step)(struct exec *exec, uint64_t step, uint64_t first_sample);
    size_t (*memory)(const struct exec *exec);
    void (*destroy)(struct exec *exec);
};
struct exec {
    const struct exec_class *class;
};

/* Engine by name; "auto" or NULL gives the first built in (onednn if there). USAGE error lists the names. */
status engine_find(const char *name, const struct engine **engine) STATUS_MUST_USE;
int engine_count(void);
const struct engine *engine_at(int i);

/* Gives the parameters. EXEC_INFER packs them: call again after a change. EXEC_TRAIN keeps the pointer
 * (borrowed) and reads the values at each forward; batch norm's moving statistics are updated in it. */
static inline status exec_set_params(struct exec *exec, struct params *params) {
    return exec->class->set_params(exec, params);
}
/* inputs[i]: (batch, ...) of graph input i; read during the call and, in EXEC_TRAIN, by the backward that
 * follows it. DATA error: a value that the model cannot take, such as an id that an embedding does not have.
 * All is computed then nevertheless, with something in its place, and backward may follow: so what is summed
 * over the ranks stays in step. After any other error nothing is. */
static inline status exec_forward(struct exec *exec, const float *const *inputs) {
    return exec->class->forward(exec, inputs);
}
/* Output i, (batch, ...); borrowed, valid until the next forward. */
static inline const float *exec_output(const struct exec *exec, int i) {
    return exec->class->output(exec, i);
}
static inline bool exec_goes_on(status error) {
    return !error || status_code(error) == STATUS_DATA;
}
/* After a forward in EXEC_TRAIN: output_grads[i] is dLoss/dOutput i, (batch, ...), or NULL for zero. Sets
 * (does not add to) the gradients of all trainable parameters the graph uses, in the layout of `params`. */
static inline status exec_backward(struct exec *exec, const float *const *output_grads,
                                   struct params *grads) {
    return exec->class->backward(exec, output_grads, grads);
}
/* dLoss/dInput i after backward; borrowed. Only with options.input_grads. */
static inline const float *exec_input_grad(const struct exec *exec, int i) {
    return exec->class->input_grad(exec, i);
}
/* Which step and which sample of the global batch comes first here: for dropout only. */
static inline void exec_set_step(struct exec *exec, uint64_t step, uint64_t first_sample) {
    exec->class->set_step(exec, step, first_sample);
}
/* Bytes held. */
static inline size_t exec_memory(const struct exec *exec) {
    return exec->class->memory(exec);
}
static inline void exec_destroy(struct exec **exec) {
    if (*exec) (*exec)->class->destroy(*exec);
    *exec = (struct exec *)0;
}

#endif

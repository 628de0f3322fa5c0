/* Kernels: how the openblas engine computes one kind of operation. One kernel is one `const struct kernel` in
 * a file of this folder and one line of kernels.c.
 *
 * An operation of the graph is compiled to a task; the kernel's `prepare` checks it and says how much memory
 * it wants, and the exec (exec.c) sets the pointers. Kernels allocate nothing while running.
 *
 * Threads: work is cut into env->threads slots by slot_range(), whatever number of threads really runs them,
 * so results depend on options.threads only. In forward, what computes one sample does not depend on the
 * others.
 *
 * A forward that meets a value it cannot take returns a DATA error, but computes its output whole. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_KERNEL_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_KERNEL_H

#include "worker/engine.h"

/* What all tasks of an exec share. */
struct kernel_env {
    int64_t batch;
    int threads;
    bool train;
    enum batch_norm_mode batch_norm;
    status (*sum)(void *context, double *v, int n);
    int64_t global_batch; /* samples that `sum` sums over */
    void *context;
    uint64_t seed, step, first_sample;
};

struct kernel;

struct task {
    const struct op *op;
    const struct kernel *kernel;
    const struct kernel_env *env;
    struct shape *in; /* [op->nin] shapes of the inputs, owned */
    struct shape out;
    struct shape param[4]; /* rank -1 where absent */

    /* Set by prepare. */
    bool alias;                               /* the output is the input's memory; forward is not called */
    size_t saved;                             /* bytes kept from forward to backward */
    size_t scratch_forward, scratch_backward; /* bytes */
    void *plan;                               /* what the kernel likes to remember; released with free() */

    /* Set by the exec. Backward sets (does not add to) dx[i] and dw[i]; NULL ones are not wanted. */
    float **x; /* [op->nin] */
    float *y;
    float *w[4];
    void *kept; /* [saved] */
    void *scratch;
    const float *dy;
    float **dx; /* [op->nin] */
    float *dw[4];
};

struct kernel {
    status (*prepare)(struct task *task);
    status (*forward)(struct task *task);
    status (*backward)(struct task *task);
};

const struct kernel *kernel_of(enum op_kind kind);

/* INTERNAL error that names the operation: its shapes or attributes do not fit. */
status kernel_mismatch(const struct task *task, const char *what) STATUS_MUST_USE;

/* Elements of a shape whose dimensions have been checked by the exec. */
static inline int64_t count_of(const struct shape *shape) {
    int64_t n = 1;
    for (int i = 0; i < shape->rank; i++) n *= shape->dim[i];
    return n;
}

static inline int64_t last_dim(const struct shape *shape) {
    return shape->rank ? shape->dim[shape->rank - 1] : 1;
}

static inline bool has_param(const struct task *task, int i) {
    return task->param[i].rank >= 0;
}

/* Part `slot` of 0..n-1 cut into `slots` parts. */
static inline void slot_range(int64_t n, int slots, int slot, int64_t *first, int64_t *last) {
    *first = n * slot / slots;
    *last = n * (slot + 1) / slots;
}

#endif

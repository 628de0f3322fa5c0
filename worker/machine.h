/* What a rank computes with. */
#ifndef GODWIT_WORKER_MACHINE_H
#define GODWIT_WORKER_MACHINE_H

#include "io/quantization.h"
#include "shared/comm.h"
#include "shared/log.h"
#include "shared/trace.h"
#include "worker/engine.h"

struct machine {
    const struct comm *world;
    const struct comm *node; /* ranks that share memory */
    struct log *log;
    const struct engine *engine;
    int threads;                             /* of this rank */
    struct trace *trace;                     /* NULL: none is made */
    const struct quantization *quantization; /* forward passes of less than full precision; NULL: float32 */
};

/* What an engine is to compile a forward pass for. */
static inline struct exec_options machine_forward_options(const struct machine *machine, int64_t batch) {
    const struct quantization *q = machine->quantization;
    struct exec_options options = {.batch = batch, .mode = EXEC_INFER, .threads = machine->threads};
    options.precision = q ? q->precision : PRECISION_FLOAT32;
    options.range = q ? q->range : (const struct value_range *)0;
    return options;
}

/* A span of this rank's that began at `begin` ends; returns when that is, for the next one to begin. */
static inline double machine_span(const struct machine *machine, enum trace_kind kind, const char *name,
                                  int slice, int64_t step, double begin) {
    double now = comm_time();
    trace_add(machine->trace, kind, name, slice, step, begin, now);
    return now;
}

/* The ranks' shares of n items: rank r of `size` has [share_begin(n, r, size), share_begin(n, r + 1, size)).
 */
static inline int64_t share_begin(int64_t n, int rank, int size) {
    return n / size * rank + (n % size < rank ? n % size : rank);
}

#endif

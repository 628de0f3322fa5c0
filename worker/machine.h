/* What a rank computes with. */
#ifndef GODWIT_WORKER_MACHINE_H
#define GODWIT_WORKER_MACHINE_H

#include "shared/comm.h"
#include "shared/log.h"
#include "shared/trace.h"
#include "worker/engine.h"

struct machine {
    const struct comm *world;
    const struct comm *node; /* ranks that share memory */
    struct log *log;
    const struct engine *engine;
    int threads;         /* of this rank */
    struct trace *trace; /* NULL: none is made */
    /* Of forward passes; zero: float32. */
    enum precision precision;
    const struct value_range *range; /* [values of the graph], borrowed */
};

/* What an engine is to compile a forward pass for. */
static inline struct exec_options machine_forward_options(const struct machine *machine, int64_t batch) {
    return (struct exec_options){.batch = batch,
                                 .mode = EXEC_INFER,
                                 .threads = machine->threads,
                                 .precision = machine->precision,
                                 .range = machine->range};
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

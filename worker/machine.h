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
};

/* The ranks' shares of n items: rank r of `size` has [share_begin(n, r, size), share_begin(n, r + 1, size)).
 */
static inline int64_t share_begin(int64_t n, int rank, int size) {
    return n / size * rank + (n % size < rank ? n % size : rank);
}

#endif

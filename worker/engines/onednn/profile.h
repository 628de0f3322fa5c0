/* Where the time of the onednn engine goes, for benchmarks. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_PROFILE_H
#define GODWIT_WORKER_ENGINES_ONEDNN_PROFILE_H

#include "worker/engine.h"

struct onednn_profile {
    const char *kind;           /* operation */
    const char *implementation; /* of the forward primitive; "" if none; borrowed */
    int node;
    double flops;    /* of one forward of `samples`, by the operation's definition */
    double bytes;    /* inputs, output and parameters, each once */
    int64_t samples; /* of the batch, that are computed together */
    int threads;
    double forward_s, backward_s; /* the fastest run since onednn_profile_start */
};

/* Starts counting from zero. `exec` must be of engine_onednn. */
void onednn_profile_start(struct exec *exec);
/* Step `i`; false when there are no more. */
bool onednn_profile_step(const struct exec *exec, int i, struct onednn_profile *profile);

#endif

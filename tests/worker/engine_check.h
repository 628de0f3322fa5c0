/* Checks of engines against the reference of reference.h. */
#ifndef GODWIT_TESTS_WORKER_ENGINE_CHECK_H
#define GODWIT_TESTS_WORKER_ENGINE_CHECK_H

#include "worker/engine.h"

/* A graph with data for it; all owned. */
struct trial {
    struct opgraph *graph;
    int64_t batch;
    struct params *params;
    float **input;  /* [ninputs] */
    float **weight; /* [noutputs] of the outputs in the loss */
};

/* Takes the graph. Data are random, by the seed. */
struct trial *trial_create(struct opgraph *graph, int64_t batch, uint64_t seed);
void trial_destroy(struct trial *trial);
const float *const *trial_inputs(const struct trial *trial);
const float *const *trial_weights(const struct trial *trial);

/* Runs every engine on 1 and 2 threads, in inference, in training with moving statistics and (if there is
 * batch norm) with the batch's. Outputs must equal the reference's, gradients of parameters and inputs its
 * differences (up to 24 random elements of each tensor). */
void trial_check(const struct trial *trial);

/* |a - b| <= tolerance * (greatest |b|), for all elements; says which one failed. */
void assert_close(const char *what, const float *a, const float *b, int64_t n, double tolerance);
void assert_close_double(const char *what, const float *a, const double *b, int64_t n, double tolerance);

/* The exec of an engine, or a failed test. */
struct exec *exec_must(const struct engine *engine, const struct opgraph *graph,
                       const struct exec_options *options);

#endif

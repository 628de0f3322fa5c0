/* How wrong an operation's outputs are, seen through what follows them. */
#ifndef GODWIT_WORKER_OUTCOME_H
#define GODWIT_WORKER_OUTCOME_H

#include "shared/op.h"

enum outcome_kind {
    OUTCOME_LINEAR, /* outputs count as they are */
    OUTCOME_RELU,   /* only what lies between 0 and the maximum of a ReLU counts */
    OUTCOME_SOFTMAX /* a softmax over all columns follows */
};

struct outcome {
    enum outcome_kind kind;
    float maximum; /* RELU: INFINITY if none */
};

/* What follows `value` of the graph, and nothing else reads it. */
struct outcome outcome_of(const struct opgraph *graph, int value);

/* Adds to sum[0] the error of outputs p (rows, m) against the wanted y, to sum[1] the size of what is wanted:
 * squared differences and squares after the activation; SOFTMAX: Kullback-Leibler divergence of softmax(p),
 * and of equal probabilities, from softmax(y).
 *
 * y becomes the change of p that is asked for. `aware` of what follows: RELU: y - p where 0 < y < maximum,
 * elsewhere to the dead side only. SOFTMAX: 2 (softmax(y) - softmax(p)), whose least-squares fit lowers the
 * divergence, as the fit's Gram matrix over 2 bounds its second derivative (Boehning 1992). Not aware: y - p.
 */
void outcome_compare(const struct outcome *outcome, int64_t rows, int64_t m, bool aware, float *y,
                     const float *p, double *sum);

#endif

/* Rounding the weights of a layer so that its outputs change least: column by column of the outputs, weight
 * by weight, each one's error made up for by those not yet rounded (GPTQ, Frantar et al. 2023, arXiv
 * 2210.17323). With H the damped Gram matrix of the inputs and U the upper Cholesky factor of its inverse,
 *
 *   e_i = (w_i - round(w_i)) / U_ii,   w_j -= e_i U_ij for j > i,
 *
 * and the squared error of the outputs is the sum of e_i². Inputs come in the order of falling size. */
#ifndef GODWIT_WORKER_GPTQ_H
#define GODWIT_WORKER_GPTQ_H

#include "shared/rounding.h"

struct gptq {
    int64_t k, m;       /* inputs, outputs */
    int64_t rounded;    /* the first so many weights of an output are rounded; the rest, its bias, takes
                           up what is left of the errors */
    const double *gram; /* (k, k) of the inputs, both triangles; the bias's input is 1 */
    const double *w;    /* (k, m) */
    const int *group;   /* (rounded, m) number of the rounding of each weight */
    int ngroups;
    struct rounding *rounding; /* [ngroups] that hold the largest weights */
    bool narrows; /* scales may be made smaller, where clipping the largest weights costs less than
                     it gains: all weights of an output have one rounding, which no others have.
                              Some weight then is at the end of each rounding, so that whoever takes a scale
                              from the largest weight finds the same values again */
};

/* Squared errors of the outputs over all samples. */
struct gptq_errors {
    double nearest, rounded; /* of rounding to the nearest, of what is given */
    double base;             /* of leaving the layer out */
};

/* Gives q (k, m). An output keeps the nearest values if that is better. Changes the scales of
 * gptq->rounding if these may be narrowed. The same bytes with any number of threads. Errors: MEMORY, DATA if
 * the Gram matrix is not finite. Not collective. */
status gptq_round(const struct gptq *gptq, int threads, double *q,
                  struct gptq_errors *errors) STATUS_MUST_USE;

#endif

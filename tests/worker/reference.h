/* Operation graphs computed in double precision by their definitions, element by element: what engines are
 * tested against. Its derivatives come from central differences, so nothing here knows backward. */
#ifndef GODWIT_TESTS_WORKER_REFERENCE_H
#define GODWIT_TESTS_WORKER_REFERENCE_H

#include "worker/engine.h"

struct reference {
    const struct opgraph *graph;
    int64_t batch;
    bool batch_statistics; /* batch norm by the batch's statistics */
    double **value;        /* [nvalues], owned; inputs are to be filled in */
    double **param;        /* [nparams], owned */
};

struct reference *reference_create(const struct opgraph *graph, int64_t batch, bool batch_statistics,
                                   const float *const *inputs, const struct params *params);
void reference_destroy(struct reference *r);

/* Computes all values, or those from operation `first` on. Dropout is the identity. */
void reference_forward(struct reference *r);
void reference_forward_from(struct reference *r, int first);

/* Sum over the outputs of weight[i] times output i, after a forward. */
double reference_loss(struct reference *r, const float *const *weights);

/* Derivatives of that loss by x[at[i]], elements of an input or of a parameter that no operation before
 * `first` reads; NAN where there is a kink. After a forward; leaves the values as they were. */
void reference_derivatives(struct reference *r, const float *const *weights, double *x, int first, int n,
                           const int64_t *at, double *derivative);

double reference_activation(const struct activation_function *f, double x);

/* Computes a RECURRENT operation's output; by reference_recurrent.c. */
void reference_recurrent(struct reference *r, const struct op *op);

#endif

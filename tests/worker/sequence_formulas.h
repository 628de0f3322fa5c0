/* Keras's recurrent layers and attention written out, in double, for one sample. */
#ifndef GODWIT_TESTS_WORKER_SEQUENCE_FORMULAS_H
#define GODWIT_TESTS_WORKER_SEQUENCE_FORMULAS_H

#include <stdbool.h>

struct recurrence {
    enum { RECURRENCE_SIMPLE, RECURRENCE_LSTM, RECURRENCE_GRU } cell;
    bool reset_after, backwards;
    int steps, features, units;
    const float *kernel, *recurrent, *bias; /* bias NULL: none; (2,3u) with reset_after */
};

/* x: [steps][features]. mask: [steps], NULL: none. `h`, `c` ([units]): the initial states, and then the last
 * ones. out: [steps][units] in the order of computation. tanh, sigmoid. */
void recurrence_run(const struct recurrence *r, const double *x, const double *mask, double *h, double *c,
                    double *out);

struct attention {
    int queries, keys; /* steps */
    bool causal;
    const double *query_mask, *key_mask; /* [queries], [keys], NULL: none */
};

/* Weights of a row of scores, in place: a softmax over what the row sees; over all alike if it sees nothing.
 */
void attention_weigh(const struct attention *a, int row, double *scores);

struct heads_formula {
    struct attention of;
    int query_features, key_features, value_features;
    int heads, key_heads, size, value_size, out; /* out: features of the output */
    const float *const *param;                   /* kernel and bias of query, key, value, output */
};

/* query [queries][query_features], key, value; out [queries][out]. */
void heads_run(const struct heads_formula *f, const double *query, const double *key, const double *value,
               double *out);

#endif

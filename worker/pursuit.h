/* Group orthogonal matching pursuit over one or several linear readers of the same channels. Not collective.
 */
#ifndef GODWIT_WORKER_PURSUIT_H
#define GODWIT_WORKER_PURSUIT_H

#include "shared/status.h"

#include <stdint.h>

/* One linear operation y = u·w that reads the channels. */
struct pursuit_reader {
    int64_t k, m;     /* entries of u (with the bias's), outputs */
    double *g;        /* (k, k) Gram matrix of u; consumed */
    double *h;        /* (k, m) g·w; consumed */
    const int *class; /* [k] class of each entry, -1: always there */
    double total;     /* squared outputs, to weigh the readers alike */
};

/* Chooses `kept` of `classes` classes; chosen[kept] ascending. `error`, if not NULL, [kept + 1]: the readers'
 * squared errors, each relative to its own outputs, with the first k of the classes in the order in which
 * they were taken. Errors: MEMORY. */
status pursuit_choose(int nreaders, struct pursuit_reader *reader, int classes, int kept, int threads,
                      int64_t *chosen, double *error) STATUS_MUST_USE;

#endif

/* Small matrix products on the calling thread, for operands that lie in cache. */
#ifndef GODWIT_WORKER_ENGINES_PRODUCT_H
#define GODWIT_WORKER_ENGINES_PRODUCT_H

#include <stdbool.h>
#include <stdint.h>

/* c (m,n) = a (m,k) b (k,n), or += with `add`; n a multiple of 16. Element (i,l) of `a` is a[i*ai + l*al];
 * rows of b are `bl` apart, of c `ci`. Every element of c is the same sum in the same order, whatever m and
 * n. */
void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t ai, int64_t al, const float *b,
             int64_t bl, bool add, float *c, int64_t ci);

#endif

/* Slicing: source and target cut alike, at boundaries, which are values that both have. The unit of
 * fine-tuning in slices. Not collective. */
#ifndef GODWIT_WORKER_SLICING_H
#define GODWIT_WORKER_SLICING_H

#include "shared/op.h"

struct boundary {
    int source;      /* value of the source's graph; -1: it has none of the same meaning (another task) */
    int target;      /* value of the target's */
    int64_t *column; /* [channels of the target's] which of the source's channels, the last axis, they are;
                        NULL: all of them. Owned */
};

struct slicing {
    const struct opgraph *source, *target; /* one input each, output 0: logits; borrowed */
    int nslices;
    struct boundary *boundary; /* [nslices + 1]: of slice i the inputs are boundary i, the outputs i + 1 */
};

/* Cuts at those of the candidates between input and logits, in their order, that can be boundaries: all that
 * comes after can be computed from them, no parameter of the target is used on both sides, and each slice
 * has something to train. `candidate` [n] is moved, on failure too. `known`: the source's logits are those
 * that the target is to have. UNSUPPORTED error if a graph has several inputs. */
status slicing_create(const struct opgraph *source, const struct opgraph *target, bool known, int n,
                      struct boundary *candidate, struct slicing **slicing) STATUS_MUST_USE;
void slicing_destroy(struct slicing **slicing);

/* Floats of a sample at a boundary. */
int64_t slicing_source_floats(const struct slicing *slicing, int boundary);
int64_t slicing_target_floats(const struct slicing *slicing, int boundary);

/* The operations of slices [first, end): of the target, and of the source, which gives all boundaries after
 * `first` (only the last, if `all` is false). Owned by the caller. */
status slicing_cut_target(const struct slicing *slicing, int first, int end,
                          struct opgraph **cut) STATUS_MUST_USE;
status slicing_cut_source(const struct slicing *slicing, int first, int end, bool all,
                          struct opgraph **cut) STATUS_MUST_USE;

/* The target's channels of n samples at a boundary, from the source's x: to (n, target's floats). */
void slicing_map(const struct slicing *slicing, int boundary, int64_t n, const float *x, float *to);

#endif

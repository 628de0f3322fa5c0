/* What a weighted operation sees of its input: one row a position it is applied to. */
#ifndef GODWIT_WORKER_PATCHES_H
#define GODWIT_WORKER_PATCHES_H

#include "shared/op.h"

/* CONV and DEPTHWISE: rows are output positions, columns are (kh, kw, C) of the window, zero where it hangs
 * over; CONV_TRANSPOSE: columns are (kh, kw, C) of the kernel, zero where no input meets it; DENSE: rows are
 * all but the last axis. Groups of a convolution (the channels of a depthwise one) are maps of their own,
 * each from its part of the columns to its outputs. */
struct patches {
    const struct op *op;
    struct shape in, out; /* one sample: batch 1 */
    int64_t rows;         /* of one sample */
    int64_t step;         /* every step-th position is a row */
    int64_t columns;      /* of all groups, without the one for the bias */
    int64_t groups;
    int64_t inputs, outputs; /* of a group: columns, outputs */
};

/* UNSUPPORTED for other operations. */
bool patches_known(const struct op *op);
status patches_init(const struct opgraph *graph, const struct op *op,
                    struct patches *patches) STATUS_MUST_USE;

/* The same for a map of the last axis alone, to so many outputs, that no operation of its own makes. */
void patches_of_steps(const struct shape *in, int64_t outputs, struct patches *patches);

/* Takes fewer positions of each sample, others from sample to sample, as long as `samples` of them leave
 * `wanted` rows and several times as many as columns: neighbouring patches say much the same. */
void patches_thin(struct patches *patches, int64_t samples, int64_t wanted);

/* Where row `row`, counted through all samples, lies among the positions of all samples. */
int64_t patches_position(const struct patches *patches, int64_t row);

/* Rows [first, first + n) of samples x (..., in), counted through all samples, into u (n, stride), of which
 * the first `columns` entries of each row are set and, if stride > columns, entry [columns] is set to 1. */
void patches_gather(const struct patches *patches, const float *x, int64_t first, int64_t n, int64_t stride,
                    int threads, float *u);

/* Of gathered rows u (n, stride) what the group sees: gu (n, inputs, and 1 if stride > columns). */
void patches_group(const struct patches *patches, int64_t group, int64_t n, int64_t stride, const float *u,
                   float *gu);

/* Place in the kernel of what the group's column `column` gives to its output `output`. */
int64_t patches_weight(const struct patches *patches, int64_t group, int64_t column, int64_t output);

#endif

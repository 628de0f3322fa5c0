/* What a weighted operation sees of its input: one row a position it is applied to. */
#ifndef GODWIT_WORKER_PATCHES_H
#define GODWIT_WORKER_PATCHES_H

#include "shared/op.h"

/* CONV (ungrouped) and DEPTHWISE: rows are output positions, columns are (kh, kw, C) of the window, zero
 * where it hangs over; CONV_TRANSPOSE: columns are (kh, kw, C) of the kernel, zero where no input meets it;
 * DENSE: rows are all but the last axis. */
struct patches {
    const struct op *op;
    struct shape in, out; /* one sample: batch 1 */
    int64_t rows;         /* of one sample */
    int64_t columns;      /* without the one for the bias */
};

/* UNSUPPORTED for other operations and grouped convolutions. */
bool patches_known(const struct op *op);
status patches_init(const struct opgraph *graph, const struct op *op,
                    struct patches *patches) STATUS_MUST_USE;

/* Rows [first, first + n) of samples x (..., in), counted through all samples, into u (n, stride), of which
 * the first `columns` entries of each row are set and, if stride > columns, entry [columns] is set to 1. */
void patches_gather(const struct patches *patches, const float *x, int64_t first, int64_t n, int64_t stride,
                    int threads, float *u);

/* Place in the kernel of what column `column` gives to output `output`. Not for DEPTHWISE. */
int64_t patches_weight(const struct patches *patches, int64_t column, int64_t output);

#endif

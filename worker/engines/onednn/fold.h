/* Folding a batch norm by its moving statistics, or a scale, into the weights before it. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_FOLD_H
#define GODWIT_WORKER_ENGINES_ONEDNN_FOLD_H

#include "worker/engines/onednn/step.h"

/* Weights (rows, M) of the step's operation, as a kernel in the Keras layout is (M the output channels),
 * scaled by gamma/sqrt(variance + epsilon) of step->norm into `weights`, and bias [M]; by gamma of a scale.
 * Without a norm, copies. A missing bias is zero. */
void fold_norm(const struct onednn_exec *exec, const struct step *step, int64_t rows, int64_t m,
               float *weights, float *bias);

#endif

/* Convolutions and dense layers of less than full precision, in inference: bfloat16, or int8 with a scale for
 * each output channel of the kernel and one for each value, as exec->format and exec->rounded say. Batch norm
 * is folded into the kernel before it is rounded; the addition of another value and the activation are fused.
 */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_ROUNDED_H
#define GODWIT_WORKER_ENGINES_ONEDNN_ROUNDED_H

#include "worker/engines/onednn/step.h"

/* Of a convolution or dense layer: STEP_ANY if it is to be computed so. */
enum step_formats rounded_formats(const struct onednn_exec *exec, const struct step *step);

/* Makes it a step of that kind, if it is to be and oneDNN can: *done. A dense layer is a 1x1 convolution. */
status rounded_prepare(struct onednn_exec *exec, struct step *step, const struct conv_shape *shape,
                       bool *done) STATUS_MUST_USE;

#endif

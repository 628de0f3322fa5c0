/* Losses of a classifier's logits, with labels, a teacher's logits, or both. Not collective. */
#ifndef GODWIT_WORKER_LOSS_H
#define GODWIT_WORKER_LOSS_H

#include "io/config.h"

struct loss_result {
    double loss;     /* sum over the samples */
    int64_t correct; /* samples whose largest logit is the label's */
};

/* Loss of n samples with `classes` logits each, added to *result; `grad` (n, classes), unless NULL, receives
 * the gradient of the mean over `divisor` samples (the global batch).
 *
 * cross_entropy: (1-d)·CE(q, softmax(z)) + d·T²·KL(softmax(t/T) ‖ softmax(z/T)), where q is the label
 * smoothed by s: 1-s+s/C and s/C, t the teacher's logits, T the temperature and d the distillation weight
 * (Hinton, Vinyals, Dean 2015). mean_squared_error: mean over the outputs of (1-d)·(z-onehot)² + d·(z-t)².
 *
 * logits, teacher: (n, classes), teacher NULL: d = 0. label: (n), in [0, classes); NULL, with a teacher: the
 * class for which its logit is largest. */
void loss_add(const struct loss_config *config, int64_t n, int64_t classes, const float *logits,
              const float *teacher, const int32_t *label, int64_t divisor, float *grad,
              struct loss_result *result);

#endif

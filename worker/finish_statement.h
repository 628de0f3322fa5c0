/* One statement's last transforms: what finish.c and finish_gptq.c share. Internal to worker/finish*.c. */
#ifndef GODWIT_WORKER_FINISH_STATEMENT_H
#define GODWIT_WORKER_FINISH_STATEMENT_H

#include "shared/evaluation.h"
#include "worker/finish.h"

/* The quantize() of a statement's last transforms that rounds by gptq, the outermost if there are several;
 * NULL: there is none. */
const struct expr *finish_gptq_of(const struct plan_statement *statement);
/* The number of its tensor among the target's parameters. */
int finish_param(const struct plan *plan, const struct plan_statement *statement);

/* The value of `expr`, one of the last transforms of a statement or what they begin with, when the value of
 * `inner`, which is in it, is `values`: out (count of the tensor), not `values`. Not collective. */
status finish_value(struct evaluation *evaluation, const struct expr *expr, const struct expr *inner,
                    const float *values, float *out) STATUS_MUST_USE;

/* Rounds the kernels that gptq rounds, in the order of the operations; those of pending[statements], which it
 * clears where it has done so. Collective. */
status finish_gptq(const struct machine *machine, const struct finish *finish, struct evaluation *evaluation,
                   bool *pending) STATUS_MUST_USE;

#endif

/* The last transforms of a program: what quantize and cast make of the tensors that fitting and training
 * made. */
#ifndef GODWIT_WORKER_FINISH_H
#define GODWIT_WORKER_FINISH_H

#include "shared/op.h"
#include "shared/plan.h"

/* Has the program statements whose outermost transforms are done last? */
bool plan_finishes(const struct plan *plan);

/* Does them, to all of the target's parameters, as graph_lower() of the target numbers them. Not collective:
 * every rank does the same. */
status finish_params(const struct plan *plan, struct params *params) STATUS_MUST_USE;

#endif

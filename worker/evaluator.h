/* Evaluates the expressions of a migration program on hyperslabs of the source, rows at a time. Not
 * collective. */
#ifndef GODWIT_WORKER_EVALUATOR_H
#define GODWIT_WORKER_EVALUATOR_H

#include "io/keras.h"
#include "shared/plan.h"

struct evaluator;

/* `file` and `plan` are borrowed; all keep lists of the plan must have been chosen. */
status evaluator_create(struct keras_file *file, const struct plan *plan,
                        struct evaluator **evaluator) STATUS_MUST_USE;
void evaluator_destroy(struct evaluator **evaluator);

/* Rows [first, first + n) of the value of `expr`, seen as rows of its last axis. Reads just the source rows
 * that these need. `out`: n * columns floats. refit(x) gives x, its start. */
status evaluator_rows(struct evaluator *evaluator, const struct expr *expr, int64_t first, int64_t n,
                      float *out) STATUS_MUST_USE;

#endif

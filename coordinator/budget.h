/* Budgets: how wide each group of channels may be so that the target's parameters, operations and latency
 * stay within what the configuration allows ("target.params", "target.flops", "target.latency_ms",
 * "target.latency_ratio"). */
#ifndef GODWIT_COORDINATOR_BUDGET_H
#define GODWIT_COORDINATOR_BUDGET_H

#include "coordinator/compile.h"
#include "coordinator/latency.h"

/* Does the configuration set one? */
bool budget_is_set(const struct target_config *config);
/* Is one of latency among them, which has to be measured? */
bool budget_needs_latency(const struct target_config *config);

/* Allots kept[groups of compiled->map] so that the target stays within the budget.
 *
 * `error`: error[group][k] is what keeping k of its channels costs, 0 to the group's width, falling with k;
 * NULL for a group of which nothing is known, and as a whole if nothing is known of any: then all groups are
 * narrowed by the same factor. With errors, groups are narrowed step by step, each time the one whose error
 * grows least for what it saves; what is fixed stays.
 *
 * `latency`: a limit beside those of the configuration, by a model of what was measured; widths are then
 * levels (coordinator/latency.h). NULL: none.
 *
 * USAGE error if even one channel of each is too much. Not collective. */
status budget_allot(const struct compiled *compiled, const struct target_config *config,
                    const struct latency_limit *latency, const double *const *error,
                    int *kept) STATUS_MUST_USE;

#endif

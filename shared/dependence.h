/* What depends on what in a migration: statements on tensors of the source, layers on layers. */
#ifndef GODWIT_SHARED_DEPENDENCE_H
#define GODWIT_SHARED_DEPENDENCE_H

#include "shared/plan.h"

/* stale[plan->nstatements]: does the statement read a tensor that has changed? changed[]: of the source, as
 * graph_lower() numbers parameters. */
void dependence_statements(const struct plan *plan, const bool *changed, bool *stale);

/* Spreads through a graph, inferred: stale[graph->nnodes], set for nodes that compute something else, becomes
 * true for all that read what they give. */
void dependence_nodes(const struct graph *graph, bool *stale);

#endif

/* Which weights are not trained, and how long: the configuration's "training.freeze". */
#ifndef GODWIT_COORDINATOR_FREEZE_H
#define GODWIT_COORDINATOR_FREEZE_H

#include "io/config.h"
#include "shared/graph.h"

/* For each parameter, as graph_lower() numbers them, the first epoch (from 0) in which it is trained: 0 if it
 * is not frozen, INT64_MAX if it always is; *thaw is owned, NULL if nothing is frozen. An entry is a layer's
 * name, perhaps with * and ? as in a shell, then perhaps a space and how many epochs; without, it stays
 * frozen. Of several that fit a layer the last counts. USAGE error for one that fits none. */
status freeze_parse(const struct training_config *config, const struct graph *graph,
                    int64_t **thaw) STATUS_MUST_USE;

#endif

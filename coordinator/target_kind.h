/* Kinds of targets: what a target's description in the configuration ("target") can ask for. One is one file
 * in coordinator/targets/ and one line of its registry.c; all that are asked for are combined. */
#ifndef GODWIT_COORDINATOR_TARGET_KIND_H
#define GODWIT_COORDINATOR_TARGET_KIND_H

#include "coordinator/skeleton.h"
#include "io/config.h"
#include "shared/channels.h"

struct target_kind {
    /* Gives the whole graph: *skeleton, owned by the caller, left alone if the description has none. May be
     * NULL. */
    status (*give)(const struct target_config *config, const struct fold *fold, struct skeleton **skeleton);

    /* Changes the graph: marks nodes of the folded source in edit[nodes]. May be NULL. USAGE error for what
     * the description names and the model does not have, UNSUPPORTED for what cannot be done. */
    status (*edit)(const struct target_config *config, const struct graph *folded, struct edit *edit);

    /* How many channel classes of each group stay: kept[groups] is what kinds before have left. May be NULL.
     */
    status (*narrow)(const struct target_config *config, const struct skeleton *skeleton,
                     const struct channel_map *map, int *kept);

    /* Puts transforms around a weight's expression that are done last. *expr is the caller's, on failure too.
     * May be NULL. */
    status (*finish)(const struct target_config *config, const struct plan *plan, const struct layer *layer,
                     int weight, struct expr **expr);
};

int target_kind_count(void);
const struct target_kind *target_kind_at(int i);

/* Kept of a group's width by a factor: rounded, one at least. */
int target_scaled(int width, double factor);

#endif

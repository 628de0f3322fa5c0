/* Which values of two operation graphs mean the same, where the graph of the one was made from that of the
 * other by leaving nodes out or putting others in their place. */
#ifndef GODWIT_WORKER_CORRESPONDENCE_H
#define GODWIT_WORKER_CORRESPONDENCE_H

#include "io/model.h"

/* source_value [target->ops->nvalues]: the source's value that has the same meaning as the target's, -1 if
 * there is none. `origin` [target->graph->nnodes]: the source's node of the same meaning, or -1. Of a node
 * the operations correspond from its last one backwards as long as they are of the same kind, so that what
 * comes before an activation corresponds too. `twin` [target->graph->nnodes]: the source's node whose layer
 * does the same but for its activation, or -1: of these the last operations with weights correspond, perhaps
 * with other channels. */
void correspond(const struct model *target, const struct model *source, const int *origin, const int *twin,
                int *source_value);

#endif

/* Which ranks make which of several targets: groups of consecutive ranks side by side, as many as there are
 * targets if there are ranks enough. */
#ifndef GODWIT_COORDINATOR_SCHEDULE_H
#define GODWIT_COORDINATOR_SCHEDULE_H

#include "io/config.h"

struct schedule {
    int ntargets, ngroups, nranks;
    int *group; /* [ntargets] */
};

/* Operations that a target will take, about, which and whose source take so many for a sample: of each of
 * `samples` in each epoch forward and twice backward, the source's once more where samples change, and of
 * each pass of the refit twice those of both. Where the number of epochs is automatic it is taken to be 30.
 */
double schedule_operations(const struct config *config, double samples, double source, double target);

/* Deals out targets of these costs: the costliest first, each to the group that would be done with it first
 * (as fast as it has ranks); of equal ones to that with fewest targets. The same numbers give the same. */
status schedule_create(int ntargets, const double *cost, int nranks,
                       struct schedule **schedule) STATUS_MUST_USE;
void schedule_destroy(struct schedule **schedule);

/* The first rank of a group; that of the next one is its end. */
int schedule_first_rank(const struct schedule *schedule, int group);
int schedule_group_of_rank(const struct schedule *schedule, int rank);

#endif

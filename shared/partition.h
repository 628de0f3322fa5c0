/* Which ranks work on which slice. Slices are in order and so are ranks: with fewer ranks than slices a rank
 * has several neighbouring slices, with more a slice has several neighbouring ranks that split its chunks. */
#ifndef GODWIT_SHARED_PARTITION_H
#define GODWIT_SHARED_PARTITION_H

#include "shared/status.h"

struct partition {
    int nslices, nranks;
    int *first_rank; /* [nslices], owned */
    int *ranks;      /* [nslices] at least 1, owned */
};

/* Minimises the load of the most loaded rank; cost[nslices] >= 0 in any unit. The same on every rank. */
status partition_create(int nslices, const double *cost, int nranks,
                        struct partition **partition) STATUS_MUST_USE;
void partition_destroy(struct partition **partition);

/* The rank that works on chunk `chunk` of a slice. */
static inline int partition_owner(const struct partition *partition, int slice, long long chunk) {
    return partition->first_rank[slice] + (int)(chunk % partition->ranks[slice]);
}

#endif

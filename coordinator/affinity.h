/* Which processors a rank may use, and how many threads that makes. */
#ifndef GODWIT_COORDINATOR_AFFINITY_H
#define GODWIT_COORDINATOR_AFFINITY_H

#include "shared/comm.h"

#include <sched.h>

/* The core that each processor belongs to: the number of the core's lowest processor, as the kernel says. */
struct affinity_cores {
    int core[CPU_SETSIZE];
};
void affinity_read_cores(struct affinity_cores *cores);

/* The share of rank `rank` of `size` in the processors `all`: whole consecutive cores, all used, as equal as
 * can be; with more ranks than cores, one core that it shares. */
void affinity_share(const struct affinity_cores *cores, const cpu_set_t *all, int rank, int size,
                    cpu_set_t *share);

/* Open MPI binds each of one or two ranks to a single core unless told otherwise. Where it was not told
 * (`mpirun --bind-to ...` and the like leave OMPI_MCA_hwloc_base_binding_policy in the environment) and the
 * share of rank `rank` of `size` on the node is larger, binds the calling thread to its share. To be called
 * before threads are made, which inherit it. Not collective. */
void affinity_widen(const struct affinity_cores *cores, int rank, int size);

/* Cores that the calling thread may use; at least 1. */
int affinity_count(const struct affinity_cores *cores);

/* Threads for each rank of a node: the cores it may use, those it shares with n ranks counting 1/n; at
 * least 1. Collective over `node`. */
status affinity_threads(const struct affinity_cores *cores, const struct comm *node,
                        int *threads) STATUS_MUST_USE;

#endif
